"""On a full disk: whatever takes up space can be deleted, and what cannot be written leaves nothing behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from safetensors import SafetensorError

from modelforge import Forge, paths
from modelforge.cli import main
from modelforge.errors import ModelForgeError
from modelforge.store import RunRecord, RunState
from tests.crash import writers
from tests.crash.disks import fill, make_ext4, mounted
from tests.crash.writers import RUN, WRITERS, Writer


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk on which the home is."""
    with mounted(make_ext4(tmp_path / "image", 64), tmp_path / "disk") as place:
        monkeypatch.setenv("MODELFORGE_HOME", str(place / "home"))
        yield place


def run_record(**changes: Any) -> RunRecord:
    fields = {"created": "2026", "state": RunState.failed, "recipe": {}, "dataset_id": "", "dataset_name": ""}
    return RunRecord(**{**fields, **changes})


@pytest.fixture(params=["with a reserve", "full before there was a reserve"])
def full(disk: Path, request: pytest.FixtureRequest) -> Path:
    """The same when it is full; its home has a dataset, a model and a run, and a registry larger than all of them."""
    writers.add_dataset()
    writers.save()
    writers.add_run()
    store = Forge().store
    with store.transaction():
        for number in range(299):
            store.runs.add(run_record(id=f"run-{number:012x}", recipe={"name": "x" * 2000}))
    store.runs.add(run_record(id=f"run-{299:012x}", recipe={"name": "x" * 2000}))  # now its backup is as large
    if request.param != "with a reserve":
        (paths.home() / "modelforge.json.reserve").unlink()
    fill(disk)
    with pytest.raises(OSError, match="No space"):
        (disk / "more").write_bytes(b"x" * 5000)
    return disk


def test_everything_can_be_deleted(full: Path) -> None:
    forge = Forge()
    for record in (*forge.datasets.all(), *forge.models.all()):
        (forge.datasets if record.id.startswith("dataset") else forge.models).delete(record.id)
        fill(full)  # others take whatever becomes free
    forge.runs.delete(RUN)
    forge = Forge()
    assert forge.datasets.all() == forge.models.all() == [] and len(forge.runs.all()) == 300
    for kind in ("datasets", "models", "runs"):
        assert list((paths.home() / kind).iterdir()) == []


@pytest.mark.parametrize("command", [("runs", RUN), ("models", "Colours")], ids=lambda given: given[0])
def test_command_line_deletes(full: Path, command: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main([command[0], "delete", command[1], "--json"]) == 0
    assert main([command[0], "list", "--json"]) == 0
    deleted, rest = capfd.readouterr().out.split("}", 1)
    assert "deleted" in deleted and command[1] not in rest


def test_run_whose_process_is_gone_is_listed_and_deleted(full: Path) -> None:
    (full / "filler").unlink()
    for name in (RUN, "run-000000000000"):
        Forge().store.runs.update(name, state=RunState.running, pid=2**22 + 1, process_started=1.0)
    (paths.home() / "modelforge.json.reserve").unlink()
    fill(full)
    forge = Forge()
    assert len(forge.runs.all()) == 301
    forge.runs.delete(RUN)
    assert len(Forge().runs.all()) == 300


def test_reserve_is_filled_again_once_there_is_room(full: Path) -> None:
    reserve = paths.home() / "modelforge.json.reserve"
    Forge().runs.delete(RUN)
    fill(full)
    Forge().runs.delete("run-000000000000")
    assert not reserve.exists()
    (full / "filler").unlink()
    Forge().runs.delete("run-000000000001")
    assert reserve.stat().st_size >= 2 * (paths.home() / "modelforge.json").stat().st_size


@pytest.mark.slow
def test_app_opens_to_make_room(full: Path) -> None:
    """Also one that has never been opened, and whose folder for uploads cannot be made."""
    command = [sys.executable, "-m", "modelforge.cli", "ui", "--no-browser", "--port", "7993"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as app:
        assert app.stdout
        try:
            assert "ModelForge is open at http://127.0.0.1:7993" in app.stdout.readline()
            assert httpx.get("http://127.0.0.1:7993/").status_code == 200
        finally:
            app.terminate()


@pytest.mark.parametrize("levels", [3, pytest.param(40, marks=pytest.mark.slow)], ids=["some", "many"])
@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_disk_that_fills_up_meanwhile_leaves_the_old_state_or_the_new(
    writer: Writer, disk: Path, monkeypatch: pytest.MonkeyPatch, levels: int
) -> None:
    """At any place, also within what libraries write; each of them had enough space when it looked."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1 << 40, 0, 1 << 40))
    writers.parts(), writers.trainer()
    writer.prepare()
    template = disk.parent / "template"
    template.mkdir()
    if paths.home().exists():
        shutil.copytree(paths.home(), template, dirs_exist_ok=True)
    writer.act()
    needed = sum(file.stat().st_size for file in paths.home().rglob("*") if file.is_file()) + 100_000
    for level in range(levels):
        shutil.rmtree(paths.home())
        shutil.copytree(template, paths.home())
        filler = fill(disk, but_bytes=needed * level // (levels - 1))
        error = None
        try:
            writer.act()
        except (OSError, ModelForgeError, SafetensorError, RuntimeError) as caught:  # the libraries' own
            error = type(caught)
        filler.unlink()
        found = writer.look()
        assert found in ([writer.after] if not error and not writer.is_quiet else [writer.before, writer.after]), level
        assert not [path for path in paths.home().rglob(".*") if path.suffix in (".partial", ".deleted")], level
        writer.act()
        assert writer.look() == writer.again(found), level
