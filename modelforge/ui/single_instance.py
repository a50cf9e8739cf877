"""One app per home: two would both start the runs of the same queue."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

from filelock import FileLock, Timeout

from modelforge import paths
from modelforge.errors import AccessError


@contextlib.contextmanager
def lock_home() -> Iterator[None]:
    """Lock the home while this app is open. Raises AccessError if another app has it open.

    The system releases the lock of a process that dies, so nothing has to be cleaned up.
    """
    home = paths.home()
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / "app.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        where = _read_address() or "another window"
        raise AccessError(
            f"ModelForge is already open at {where}.",
            where=str(home),
            fix="Use that window, close it first, or set MODELFORGE_HOME to another folder.",
        ) from error
    try:
        yield
    finally:
        _address_file().unlink(missing_ok=True)
        lock.release()


def write_address(url: str) -> None:
    """Record where this app is open, for the error of the next one."""
    _address_file().write_text(json.dumps({"url": url, "pid": os.getpid()}), encoding="utf-8")


def _read_address() -> str:
    try:
        recorded: Any = json.loads(_address_file().read_text(encoding="utf-8"))
        return str(recorded["url"])
    except (OSError, ValueError, TypeError, KeyError):  # not written yet: the other app is starting
        return ""


def _address_file() -> Any:
    return paths.home() / "app.json"
