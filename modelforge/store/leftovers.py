"""Work in progress in the home, named after the process that does it, and what a killed process has left of it.

    .1234-98765-5f2c9a.partial                  a file or folder that is being written
    .1234-98765-model-5f2c9a01b3de.deleted      a folder that is being deleted: not so its record, perhaps

The numbers are the process's id and start time (`processes.py`). Versions before this one had other names without
them; what has such a name was left behind if nothing in it changed for a day.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from modelforge.errors import explain_os_errors
from modelforge.paths import CANNOT_WRITE, make_folder
from modelforge.processes import find_start_time, is_alive

_NAME = re.compile(r"\.(\d+)-(\d+)-(.+)\.(partial|deleted)")
_OLD_NAME = re.compile(r"\.(unfinished|fetching)-.*|\.(.*\.)?(partial|deleted)|unpacked-.*|.*\.looked-at\.arrow")
_STALE_SECONDS = 24 * 3600.0
# Where something is written or deleted; in the folder of uploads everything is temporary.
_PLACES = (".", "*", "cache/*", "models/*", "batches/*", "runs/*/checkpoints")
_UPLOADS = "uploads"


def begin_folder(place: Path) -> Path:
    """A new folder to write in, within `place`. Raises StoreError, DiskFullError."""
    with explain_os_errors(place, CANNOT_WRITE):
        return Path(tempfile.mkdtemp(".partial", _prefix(), make_folder(place)))


def begin_file(place: Path) -> Path:
    """A new, empty file to write, within `place`. Raises StoreError, DiskFullError."""
    with explain_os_errors(place, CANNOT_WRITE):
        handle, name = tempfile.mkstemp(".partial", _prefix(), make_folder(place))
        os.close(handle)
    return Path(name)


def name_deleted(folder: Path) -> Path:
    """The name that a folder has while it is deleted."""
    return folder.with_name(f"{_prefix()}{folder.name}.deleted")


def remove_leftovers(home: Path, forget: Callable[[str], None] | None = None) -> None:
    """Remove what killed processes left unfinished; what a living one writes stays.

    forget: removes the record of an id, where there is one; without it folders that were being deleted are left alone.
    """
    for path in list(_find(home)):
        marked = _NAME.fullmatch(path.name)
        if marked and marked[4] == "deleted":
            if forget is None:
                continue
            forget(marked[3])
        remove(path)


def remove(path: Path) -> None:
    """Remove a file or folder as far as the system allows it: the rest is removed at the next start."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):  # in use, on Windows
            path.unlink()


def _find(home: Path) -> Iterator[Path]:
    for place in _PLACES:
        for folder in home.glob(place) if place != "." else (home,):
            for path in _list(folder):
                uploaded = folder.name == _UPLOADS and folder.parent == home
                if (uploaded or _OLD_NAME.fullmatch(path.name)) and _is_left(path):
                    yield path


def _is_left(path: Path) -> bool:
    marked = _NAME.fullmatch(path.name)
    if marked:
        return not is_alive(int(marked[1]), float(marked[2]))
    try:
        newest = max(each.lstat().st_mtime for each in (path, *_list(path)))
    except OSError:  # removed by another process
        return False
    return newest < time.time() - _STALE_SECONDS


def _list(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # not a folder, gone, or not ours to read
        return []


def _prefix() -> str:
    return f".{os.getpid()}-{find_start_time(psutil.Process()):.0f}-"
