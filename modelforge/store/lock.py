"""Locks between processes; the system releases those of a process that dies.

The one lock of a registry excludes other threads too, and is reentrant within a thread. It uses a separate file,
because each write replaces the registry file, and its lock with it. Reading needs no lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from modelforge.errors import ModelForgeError, StoreError, explain_os_errors
from modelforge.paths import CANNOT_WRITE, PRIVATE_FILE, make_folder

WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.001


@contextmanager
def hold(path: Path, *, busy: Callable[[], ModelForgeError] | None = None) -> Iterator[None]:
    """Hold the lock of this file, which is created. busy: makes the error where another process holds it; without it,
    wait. Raises StoreError, DiskFullError."""
    lock = FileLock(make_folder(path.parent) / path.name, mode=PRIVATE_FILE)
    with explain_os_errors(path, CANNOT_WRITE):
        try:
            lock.acquire(timeout=0 if busy else -1)
        except Timeout as error:
            if busy:
                raise busy() from error
            raise
    try:
        yield
    finally:
        lock.release()


class TransactionLock:
    """`with lock:` waits up to WAIT_SECONDS for other processes, then raises StoreError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.RLock()
        self._processes = FileLock(path, mode=PRIVATE_FILE, thread_local=False)
        self._depth = 0
        self._owner = 0

    @property
    def held(self) -> bool:
        """Whether the current thread holds the lock."""
        return self._owner == threading.get_ident()

    def __enter__(self) -> None:
        self._threads.acquire()
        try:
            if self._depth == 0:
                self._acquire_file()
        except BaseException:
            self._threads.release()
            raise
        self._depth += 1
        self._owner = threading.get_ident()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._depth -= 1
            if self._depth == 0:
                self._owner = 0
                with explain_os_errors(self._path, "The registry cannot be unlocked"):
                    self._processes.release()
        finally:
            self._threads.release()

    def _acquire_file(self) -> None:
        with explain_os_errors(self._path, "The registry cannot be locked"):
            make_folder(self._path.parent)
            try:
                self._processes.acquire(timeout=WAIT_SECONDS, poll_interval=_POLL_SECONDS)
            except Timeout as error:
                raise StoreError(
                    f"Another ModelForge has kept the registry locked for {WAIT_SECONDS:.0f} seconds.",
                    where=str(self._path),
                    fix="Close it, or wait until it is done.",
                ) from error
