"""The power goes when a run has just said *finished*: its model is whole on the disk."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelforge import Forge
from modelforge.models.folder import read_manifest
from modelforge.store import RunState
from tests import tiny

CUTS = 20


def mount(image: Path, place: Path) -> str:
    """Returns "" or why it cannot be mounted."""
    place.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The image of a disk with an ext4 file system, on which the home is."""
    if not shutil.which("mkfs.ext4") or not shutil.which("mount"):
        pytest.skip("file systems cannot be made here")
    image, place = tmp_path / "disk", tmp_path / "mounted"
    with image.open("wb") as file:
        file.truncate(512 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True, capture_output=True)
    if reason := mount(image, place):
        pytest.skip(f"file systems cannot be mounted here: {reason}")
    monkeypatch.setenv("MODELFORGE_HOME", str(place / "home"))
    yield image
    subprocess.run(["umount", "-l", place], check=True)


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
        after = tmp_path / "mounted-after"
        assert not mount(tmp_path / "after", after)
        try:
            with monkeypatch.context() as patch:
                patch.setenv("MODELFORGE_HOME", str(after / "home"))
                assert {model.id for model in Forge().models.all()} == set(models)
                for each in models:
                    read_manifest(each)
                assert Forge().models[models[-1]].chat(tiny.PAIRS[0][0]) is not None
        finally:
            subprocess.run(["umount", after], check=True)
