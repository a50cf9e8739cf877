"""The power goes when something has just been written, or a run has said *finished*: it is whole on the disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelforge import Forge
from modelforge.models.folder import read_manifest
from modelforge.store import RunState
from tests import tiny
from tests.crash.disks import make_ext4, mounted
from tests.crash.writers import WRITERS, Writer

CUTS = 20


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The image of a disk with an ext4 file system, on which the home is."""
    image = make_ext4(tmp_path / "disk", 512)
    with mounted(image, tmp_path / "mounted") as place:
        monkeypatch.setenv("MODELFORGE_HOME", str(place / "home"))
        yield image


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_model_of_a_finished_run_outlives_a_power_cut(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, base = tiny.write_rows(tmp_path / "rows.jsonl"), tiny.write_base(tmp_path / "base")
    recipe = tiny.recipe(base, file, {"max_steps": 2, "save_steps": 1})
    forge, models = Forge(), list[str]()
    for _ in range(CUTS):
        run = forge.runs.start(recipe)
        assert run.wait(120) is RunState.finished
        shutil.copyfile(disk, tmp_path / "after")  # what the device had when the power went
        models.append(run.model_id or "")
        with mounted(tmp_path / "after", tmp_path / "mounted-after") as after, monkeypatch.context() as patch:
            patch.setenv("MODELFORGE_HOME", str(after / "home"))
            assert {model.id for model in Forge().models.all()} == set(models)
            for each in models:
                read_manifest(each)
            assert Forge().models[models[-1]].chat(tiny.PAIRS[0][0]) is not None


@pytest.mark.slow
@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_what_was_written_outlives_a_power_cut(
    writer: Writer, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.prepare()
    os.sync()
    writer.act()
    shutil.copyfile(disk, tmp_path / "after")
    with mounted(tmp_path / "after", tmp_path / "mounted-after") as after:
        monkeypatch.setenv("MODELFORGE_HOME", str(after / "home"))
        assert writer.look() == (writer.before if writer is WRITERS["events"] else writer.after)
