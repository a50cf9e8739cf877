"""One app per home: two would both start the runs of the same queue."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelforge import paths
from modelforge.errors import AccessError, DiskFullError
from modelforge.store.files import save_file
from modelforge.store.lock import hold


@contextlib.contextmanager
def lock_home() -> Iterator[None]:
    """Lock the home while this app is open. Raises AccessError if another app has it open.

    The system releases the lock of a process that dies, so nothing has to be cleaned up.
    """
    with hold(paths.home() / "app.lock", busy=_say_where):
        try:
            yield
        finally:
            _address_file().unlink(missing_ok=True)


def write_address(url: str) -> None:
    """Record where this app is open, for the error of the next one."""
    with contextlib.suppress(DiskFullError):  # the app is what makes room
        save_file(_address_file(), json.dumps({"url": url, "pid": os.getpid()}).encode())


def _say_where() -> AccessError:
    return AccessError(
        f"ModelForge is already open at {_read_address() or 'another window'}.",
        where=str(paths.home()),
        fix="Use that window, close it first, or set MODELFORGE_HOME to another folder.",
    )


def _read_address() -> str:
    try:
        recorded: Any = json.loads(_address_file().read_text(encoding="utf-8"))
        return str(recorded["url"])
    except (OSError, ValueError, TypeError, KeyError):  # not written yet: the other app is starting
        return ""


def _address_file() -> Path:
    return paths.home() / "app.json"
