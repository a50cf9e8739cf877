"""Nobody else on the machine reads what is in the home: folders are 0700 and files 0600, whatever the umask is."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import gradio as gr
import httpx
import pytest

from modelforge import Forge, paths
from modelforge.data.checks import check
from modelforge.ui.access import decide_access
from modelforge.ui.app import build, launch
from modelforge.ui.dataset.tab import _keep_pasted
from modelforge.ui.look.files import make_file
from modelforge.ui.single_instance import lock_home, write_address
from tests import tiny
from tests.machine import base, measured, probed

__all__ = ["base", "measured", "probed"]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")


@pytest.fixture
def no_umask() -> Iterator[None]:
    """What is created without a mode of its own is open to all."""
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(home: Path) -> list[str]:
    found = [home, *home.rglob("*")]
    return [f"{path} {path.lstat().st_mode & 0o777:o}" for path in found if path.lstat().st_mode & 0o077]


@pytest.mark.slow
def test_everything_that_is_written_is_private(no_umask: None, probed: Path, base: Path, tmp_path: Path) -> None:
    forge, home = Forge(), paths.home()
    with lock_home():
        write_address("http://127.0.0.1:7860")
        forge.datasets.add(check(tiny.write_rows(tmp_path / "rows.jsonl")))
        model = tiny.finish_model(forge, base)
        forge.models.rename(model.id, "Colors")
        run = forge.runs.start(tiny.recipe(base, tmp_path / "rows.jsonl", {"max_steps": 400, "save_steps": 1}))
        while not run.feed.latest.get("checkpoint"):
            assert run.feed.wait(run.feed.since(0)[1], 60)
        assert open_to_others(home) == []
        run.pause()
        run.wait(60)
    assert (home / "runs" / run.id / "checkpoints").is_dir() and (home / "cache" / "probe.json").is_file()
    assert open_to_others(home) == []


def test_home_of_an_earlier_version_is_closed_at_the_start(home: Path) -> None:
    for name in ("models/model-0123456789ab", "cache/starters", "datasets"):
        (home / name).mkdir(parents=True)
    for name in ("modelforge.json", "modelforge.json.bak", "models/model-0123456789ab/modelforge.json", "app.lock"):
        (home / name).write_text("{}")
    for path in [home, *home.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    (home / "cache" / "starters" / "link").symlink_to(home.parent)
    home.parent.chmod(0o755)
    (home / "modelforge.json").unlink()
    Forge()
    assert [path for path in open_to_others(home) if "link" not in path] == []
    assert home.parent.stat().st_mode & 0o777 == 0o755


def test_folder_with_other_things_in_it_stays_open_and_only_ours_is_closed(home: Path) -> None:
    (home / "datasets").mkdir(parents=True)
    (home / "bin").mkdir()
    (home / "bin" / "script").write_text("#!/bin/sh")
    for path in (home, home / "datasets", home / "bin", home / "bin" / "script"):
        path.chmod(0o755)
    Forge()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (home, *home.rglob("*"))}
    assert modes == {"home": 0o755, "bin": 0o755, "script": 0o755, "datasets": 0o700}


@pytest.fixture
def served(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the app, on a machine where the first user of Gradio has made its folder."""
    shared = tmp_path / "tmp"
    (shared / "gradio").mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    page: gr.Blocks = build(Forge(), access := decide_access(environment={}))
    yield launch(page, access).rstrip("/")
    page.close(verbose=False)
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)


def test_uploads_are_in_the_home_and_nothing_else_of_it_is_served(
    served: str, home: Path, tmp_path: Path, no_umask: None
) -> None:
    Forge().datasets.add(check(tiny.write_rows(tmp_path / "rows.jsonl")))
    (uploaded,) = httpx.post(f"{served}/gradio_api/upload", files={"files": ("rows.jsonl", b"{}")}).json()
    assert Path(uploaded).is_relative_to(home / "uploads") and Path(uploaded).read_bytes() == b"{}"
    assert Path(uploaded).stat().st_mode & 0o077 == (home / "uploads").stat().st_mode & 0o077 == 0
    assert list((tmp_path / "tmp").rglob("*")) == [tmp_path / "tmp" / "gradio"]
    assert httpx.get(f"{served}/gradio_api/file={quote(uploaded)}").content == b"{}"
    others = [path for path in home.rglob("*") if path.is_file() and not path.is_relative_to(home / "uploads")]
    assert len(others) > 3
    for path in others:
        assert httpx.get(f"{served}/gradio_api/file={quote(str(path))}").status_code == 403


def test_files_for_the_browser_are_private_and_in_the_home(home: Path, no_umask: None) -> None:
    made = [make_file("problems.csv"), _keep_pasted("prompt\tresponse\nhi\tthere\n")]
    assert all(path.parent.parent == paths.uploads_dir() for path in made)
    assert open_to_others(home) == []
