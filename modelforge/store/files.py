"""Single atomic steps on disk, and the system's errors as ours. It does not know the content of the files."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from modelforge.errors import DiskFullError, StoreError, is_disk_full

_WINDOWS = os.name == "nt"
_REPLACE_ATTEMPTS = 50  # 1 s in all


@contextmanager
def mapped_errors(path: Path, action: str, *, needed_bytes: int = 0) -> Iterator[None]:
    """An OSError in the block becomes a DiskFullError or a StoreError: "The registry cannot be {action}"."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            free = shutil.disk_usage(next(folder for folder in path.parents if folder.exists())).free
            raise DiskFullError(needed=needed_bytes, free=free, where=str(path)) from error
        raise StoreError(
            f"The registry cannot be {action}: {error.strerror or error}.",
            where=str(path),
            fix="Check that ModelForge has permission to read and write this folder.",
        ) from error


def write_file(path: Path, data: bytes) -> os.stat_result:
    """Write data and wait until it is on the disk. Returns the file's status. On failure the file is removed."""
    try:
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            return os.fstat(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def replace_file(source: Path, target: Path) -> None:
    """Replace target by source: readers of target find the old file or the new one, never a mixture."""
    for _ in range(_REPLACE_ATTEMPTS if _WINDOWS else 0):
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
    if _WINDOWS:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def place_folder(partial: Path, target: Path) -> None:
    """Give a folder that is completely written its name: first its contents last, then the name.

    partial: beside target. After a power cut at any moment target is there with all its contents, or not at all; when
    this returns it is there. Raises OSError, also where target exists.
    """
    for folder, _, names in os.walk(partial, topdown=False):
        for name in names:
            with Path(folder, name).open("rb+" if _WINDOWS else "rb") as file:  # Windows syncs what can be written
                os.fsync(file.fileno())
        sync_folder(Path(folder))
    partial.rename(target)
    sync_folder(target.parent)


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
