"""One app on one home: two would each start what the other has in its queue."""

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
def alone_on_home() -> Iterator[None]:
    """Hold the home for this app, as long as it is open. Raises AccessError where another one has it.

    The system takes the lock back from a process that dies, so that nothing has to be cleaned up.
    """
    home = paths.home()
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / "app.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        where = _read_address() or "another window"
        raise AccessError(
            f"ModelForge is open already, at {where}.",
            where=str(home),
            fix="Use that one, close it first, or set MODELFORGE_HOME to another folder.",
        ) from error
    try:
        yield
    finally:
        _address_file().unlink(missing_ok=True)
        lock.release()


def tell_address(url: str) -> None:
    """Say where this app is open, for who tries to open another one."""
    _address_file().write_text(json.dumps({"url": url, "pid": os.getpid()}), encoding="utf-8")


def _read_address() -> str:
    try:
        told: Any = json.loads(_address_file().read_text(encoding="utf-8"))
        return str(told["url"])
    except (OSError, ValueError, TypeError, KeyError):  # it has not got so far yet
        return ""


def _address_file() -> Any:
    return paths.home() / "app.json"
