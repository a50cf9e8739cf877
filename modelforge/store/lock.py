"""The one lock of a registry: excludes other threads and other processes, reentrant within a thread.

It uses a separate file, because each write replaces the registry file, and its lock with it. The system releases the
lock of a process that dies. Reading needs no lock.
"""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from modelforge.errors import StoreError
from modelforge.store.files import mapped_errors

WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.001


class TransactionLock:
    """`with lock:` waits up to WAIT_SECONDS for other processes, then raises StoreError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.RLock()
        self._processes = FileLock(path, thread_local=False)
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
                with mapped_errors(self._path, "unlocked"):
                    self._processes.release()
        finally:
            self._threads.release()

    def _acquire_file(self) -> None:
        with mapped_errors(self._path, "locked"):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._processes.acquire(timeout=WAIT_SECONDS, poll_interval=_POLL_SECONDS)
            except Timeout as error:
                raise StoreError(
                    f"Another ModelForge has kept the registry locked for {WAIT_SECONDS:.0f} seconds.",
                    where=str(self._path),
                    fix="Close it, or wait until it is done.",
                ) from error
