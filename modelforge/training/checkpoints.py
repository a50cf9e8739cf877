"""Complete checkpoints only: written to a temporary folder, sealed with a manifest of hashes, then renamed.

A folder without a valid manifest is never resumed from. This file owns the folders; transformers writes their contents
(weights, optimizer, scheduler, random numbers, position), and `saving.py` decides when.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from modelforge.store.folders import place_folder

MANIFEST = "checkpoint.json"
_PREFIX = "checkpoint-"  # as transformers names them


def seal(partial: Path, target: Path, facts: Mapping[str, Any]) -> None:
    """Write the hashes of all files into a manifest, then place the folder at `target`, on the disk.

    facts: further entries of the manifest. An existing target, which is not whole, is replaced.
    """
    files = {}
    for file in sorted(path for path in partial.rglob("*") if path.is_file()):
        with file.open("rb") as opened:
            files[file.relative_to(partial).as_posix()] = hashlib.file_digest(opened, "sha256").hexdigest()
    (partial / MANIFEST).write_text(json.dumps({**facts, "files": files}, indent=2), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    place_folder(partial, target)


def find_last(place: Path) -> Path | None:
    """The newest complete checkpoint in a run's folder."""
    return next((folder for folder in reversed(list_folders(place)) if is_whole(folder)), None)


def list_folders(place: Path) -> list[Path]:
    """The folders named like a checkpoint, in order of steps."""
    return sorted(
        (path for path in place.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdecimal()), key=step_of
    )


def step_of(folder: Path) -> int:
    """The optimizer step after which a checkpoint was written."""
    return int(folder.name.removeprefix(_PREFIX))


def folder_of(place: Path, step: int) -> Path:
    return place / f"{_PREFIX}{step}"


def read_facts(folder: Path) -> dict[str, Any]:
    """The manifest; {} if it is missing or damaged."""
    try:
        facts = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def is_whole(folder: Path) -> bool:
    """Whether every file in the manifest exists, unchanged."""
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
    """Remove every other checkpoint."""
    kept = set(steps)
    for folder in list_folders(place):
        if step_of(folder) not in kept:
            shutil.rmtree(folder, ignore_errors=True)
