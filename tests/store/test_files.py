"""The atomic steps on disk: what is synced, and when."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelforge.store.folders import place_folder


def test_folder_gets_its_name_after_all_that_is_in_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial, target = tmp_path / ".model.partial", tmp_path / "model"
    (partial / "deep" / "er").mkdir(parents=True)
    for name in ("weights", "deep/config", "deep/er/text"):
        (partial / name).write_text(name)
    inside = {path.stat().st_ino for path in (partial, *partial.rglob("*"))}
    synced: list[tuple[int, bool]] = []
    sync = os.fsync

    def watch(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_ino, target.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    place_folder(partial, target)
    assert {inode for inode, is_placed in synced if not is_placed} == inside
    assert synced[-1] == (tmp_path.stat().st_ino, True)
    assert (target / "deep" / "er" / "text").read_text() == "deep/er/text"


def test_folder_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    for name in ("partial", "target"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    with pytest.raises(OSError, match=r"not empty|exist"):
        place_folder(tmp_path / "partial", tmp_path / "target")
    assert (tmp_path / "target" / "file").read_text() == "target"
