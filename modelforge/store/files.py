"""Single files on disk, each step atomic. It does not know their contents; `folders.py` has whole folders."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from modelforge.errors import explain_os_errors
from modelforge.paths import CANNOT_WRITE, PRIVATE_FILE
from modelforge.store.leftovers import begin_file

WINDOWS = os.name == "nt"
_REPLACE_ATTEMPTS = 50  # 1 s in all


def open_private(path: Path, mode: str, *, encoding: str | None = None) -> IO[Any]:
    """Open a file of the home; if that creates it, only this user can read it."""
    return open(path, mode, encoding=encoding, opener=lambda name, flags: os.open(name, flags, PRIVATE_FILE))


def write_file(path: Path, data: bytes) -> os.stat_result:
    """Write data and wait until it is on the disk. Returns the file's status. On failure the file is removed."""
    try:
        with open_private(path, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            return os.fstat(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def save_file(path: Path, data: bytes) -> None:
    """Replace a file by one with this content, which is on the disk when this returns: readers, and a start after a
    kill or a power cut, find the old one or the new one. Its folder is created if necessary. Raises StoreError,
    DiskFullError."""
    with explain_os_errors(path, CANNOT_WRITE, needed_bytes=len(data)):
        partial = begin_file(path.parent)
        try:
            write_file(partial, data)
            replace_file(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def place_file(partial: Path, target: Path) -> None:
    """Give a file that is completely written its name: first its contents last, then the name. Only this user can read
    it. Raises OSError."""
    partial.chmod(PRIVATE_FILE)
    with partial.open("rb+" if WINDOWS else "rb") as file:  # Windows syncs what can be written
        os.fsync(file.fileno())
    replace_file(partial, target)
    sync_folder(target.parent)


def replace_file(source: Path, target: Path) -> None:
    """Replace target by source: readers of target find the old file or the new one, never a mixture."""
    for _ in range(_REPLACE_ATTEMPTS if WINDOWS else 0):
        try:
            source.replace(target)
            return
        except PermissionError:  # a reader or virus scanner has the target open, for milliseconds
            time.sleep(0.02)
    source.replace(target)


def copy_by_link(source: Path, target: Path) -> None:
    """Make target a second name of the current source. It keeps that content when source is replaced."""
    spare = target.with_name(target.name + ".tmp")
    spare.unlink(missing_ok=True)
    try:
        spare.hardlink_to(source)
    except OSError:  # FAT and some network drives have no links; any other problem fails the copy too
        write_file(spare, source.read_bytes())
    replace_file(spare, target)
    spare.unlink(missing_ok=True)  # if both were names of one file already, renaming left both


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut. Windows has no such call and does it itself."""
    if WINDOWS:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_aside(path: Path) -> Path:
    """Rename a file to free its name and keep its content. Returns the new path."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = free_name(path.with_name(f"{path.name}.damaged-{stamp}"))
    replace_file(path, aside)
    return aside


def free_name(path: Path) -> Path:
    """The path itself if it is free, else with the first free number appended."""
    candidate, number = path, 2
    while candidate.exists():
        candidate, number = path.with_name(f"{path.name}-{number}"), number + 1
    return candidate
