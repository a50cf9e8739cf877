"""What killed processes left is removed at the next start; what a living one writes stays."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modelforge import Forge, paths
from modelforge.cli import main
from modelforge.store import ModelRecord
from modelforge.store.leftovers import begin_file, begin_folder, name_deleted

PLACES = (
    "",
    "cache",
    "cache/starters",
    "cache/hub-datasets",
    "datasets",
    "models",
    "models/model-0123456789ab",
    "runs/run-0123456789ab/checkpoints",
)
WRITE_AND_WAIT = """
import sys, time
from pathlib import Path
from modelforge.store.folders import unfinished
with unfinished(Path(sys.argv[1])) as folder:
    (folder / "weights").write_text("half")
    print(folder, flush=True)
    time.sleep(600)
"""


def start(how: str) -> None:
    Forge() if how == "Python" else main(["runs", "list"])


@pytest.mark.parametrize("how", ["Python", "command"])
def test_what_a_living_process_writes_stays_and_is_removed_once_it_was_killed(home: Path, how: str) -> None:
    command = [sys.executable, "-c", WRITE_AND_WAIT]
    processes = [subprocess.Popen([*command, str(home / place)], stdout=subprocess.PIPE, text=True) for place in PLACES]
    folders = [Path(process.stdout.readline().strip()) for process in processes if process.stdout]
    start(how)
    assert all((folder / "weights").read_text() == "half" for folder in folders)
    for process in processes:
        process.kill()
        process.communicate()
    start(how)
    assert not any(folder.exists() for folder in folders)


def test_what_is_begun_here_is_private_and_stays(home: Path) -> None:
    folder, file = begin_folder(home / "models"), begin_file(home / "cache")
    start("Python")
    assert folder.is_dir() and file.is_file()
    if os.name != "nt":
        assert [path.stat().st_mode & 0o777 for path in (home, folder, file)] == [0o700, 0o700, 0o600]


OLD = (
    "datasets/.unfinished-0123456789ab",
    "datasets/.dataset-0123456789ab.deleted",
    "models/.model-0123456789ab.partial",
    "models/.model-0123456789ab.deleted",
    "cache/starters/.fetching-abcd",
    "cache/hub-datasets/.fetching-abcd",
    "cache/unpacked-abcd",
    "cache/abcd.looked-at.arrow",
    "runs/run-0123456789ab/checkpoints/.partial",
    "uploads/abcd",
)


@pytest.mark.parametrize("name", OLD)
def test_what_an_earlier_version_left_is_removed_a_day_after_it_was_written(home: Path, name: str) -> None:
    path = home / name
    path.parent.mkdir(parents=True)
    if path.suffix == ".arrow":
        path.write_text("rows")
    else:
        path.mkdir()
        (path / "weights").write_text("half")
    day_ago = time.time() - 25 * 3600
    os.utime(path, (day_ago, day_ago))
    start("Python")
    assert path.exists() is path.is_dir()  # something in the folder is newer
    if path.is_dir():
        os.utime(path / "weights", (day_ago, day_ago))
    start("Python")
    assert not path.exists()


def test_whatever_else_is_in_the_home_stays(home: Path) -> None:
    kept = ("models/model-0123456789ab", "models/mine", "cache/starters/SmolLM2", "runs/run-0123456789ab/checkpoints")
    for name in kept:
        (home / name).mkdir(parents=True)
        os.utime(home / name, (0, 0))
    start("Python")
    assert all((home / name).is_dir() for name in kept)


def test_deletion_that_was_killed_is_completed(home: Path, make_model: Callable[..., ModelRecord]) -> None:
    model = Forge().store.models.add(make_model())
    folder = paths.make_folder(paths.model_dir(model.id))
    doomed = name_deleted(folder)
    gone = folder.rename(doomed.with_name(doomed.name.replace(f".{os.getpid()}-", f".{2**22 + 1}-")))
    assert Forge().models.all() == []
    assert not gone.exists()
