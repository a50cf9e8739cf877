"""Checkpoints that can be trusted: written aside, sealed with a manifest of hashes, then given their name.

A folder without a valid manifest is never resumed from, whatever it holds. It owns the folders; what a trainer writes
into one is transformers' own affair (weights, optimizer, scheduler, random numbers, position), when it does so is in
`saving.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from modelforge.store.files import sync_folder, write_file

MANIFEST = "checkpoint.json"
PARTIAL = ".partial"
"""What is being written; whatever is found there was cut off."""
_PREFIX = "checkpoint-"  # transformers' own


def seal(partial: Path, target: Path, facts: Mapping[str, Any]) -> None:
    """Make a folder that is complete last: all its files on the disk, their hashes in a manifest, then its name.

    facts: what else the manifest shall say. A target that is there already is replaced.
    """
    files = {}
    for file in sorted(path for path in partial.rglob("*") if path.is_file()):
        with file.open("rb") as opened:
            files[file.relative_to(partial).as_posix()] = hashlib.file_digest(opened, "sha256").hexdigest()
            os.fsync(opened.fileno())
    text = json.dumps({**facts, "files": files}, indent=2)
    write_file(partial / MANIFEST, text.encode())
    sync_folder(partial)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    sync_folder(target.parent)


def find_last(place: Path) -> Path | None:
    """The newest checkpoint in a run's folder that is whole; those that are not are passed over."""
    return next((folder for folder in reversed(list_folders(place)) if is_whole(folder)), None)


def list_folders(place: Path) -> list[Path]:
    """The folders that have a checkpoint's name, by step."""
    return sorted((path for path in place.glob(f"{_PREFIX}*") if _has_step(path)), key=step_of)


def step_of(folder: Path) -> int:
    """The optimizer step after which a checkpoint was taken."""
    return int(folder.name.removeprefix(_PREFIX))


def folder_of(place: Path, step: int) -> Path:
    return place / f"{_PREFIX}{step}"


def read_facts(folder: Path) -> dict[str, Any]:
    """What the manifest says; {} where there is none that can be read."""
    try:
        facts = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def is_whole(folder: Path) -> bool:
    """Whether every file that the manifest names is there, as it was written."""
    files = read_facts(folder).get("files")
    if not isinstance(files, dict) or not files:
        return False
    for name, digest in files.items():
        try:
            with (folder / name).open("rb") as opened:
                if hashlib.file_digest(opened, "sha256").hexdigest() != digest:
                    return False
        except OSError:
            return False
    return True


def keep_only(place: Path, steps: Iterable[int]) -> None:
    """Remove all checkpoints but those of the steps, and what was cut off while it was written."""
    kept = set(steps)
    shutil.rmtree(place / PARTIAL, ignore_errors=True)
    for folder in list_folders(place):
        if step_of(folder) not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def _has_step(path: Path) -> bool:
    return path.name.removeprefix(_PREFIX).isdecimal()
