"""A kill, a full disk or a broken one at every single call to the system that concerns a folder.

Python tells of each call that opens, renames, links or removes a file (audit events), so no step is missed here when
the code changes; fsync has no event and is counted by hand.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_EVENTS = {"open", "os.rename", "os.link", "os.remove", "os.chmod", "os.mkdir", "os.truncate", "os.symlink"}


class Faults:
    """Counts the calls that concern a folder, and at number `step` does what it is told to."""

    def __init__(self) -> None:
        self.folder = ""
        self.step = 0
        self.count = 0
        self.strike: Callable[[], None] = lambda: None
        self.lasting = False
        sys.addaudithook(self._hear)  # cannot be taken away again; it does nothing while no folder is set
        self._fsync = os.fsync

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        paths = [str(each) for each in arguments if self.folder and isinstance(each, str | os.PathLike)]
        if event in _EVENTS and any(path.startswith(self.folder) for path in paths):
            self.tick(harmless=self.lasting and _works_on_a_full_disk(event, arguments))

    def tick(self, *, harmless: bool = False) -> None:
        self.count += 1
        if not harmless and (self.count == self.step or (self.lasting and self.count > self.step)):
            self.strike()

    @contextlib.contextmanager
    def armed(self, folder: Path, step: int, strike: Callable[[], None], *, lasting: bool = False) -> Iterator[None]:
        """Within the block the call number `step` (and with lasting all after it) strikes."""

        def counted_fsync(descriptor: int) -> None:
            self.tick()
            self._fsync(descriptor)

        self.step, self.count, self.strike, self.lasting = step, 0, strike, lasting
        os.fsync, self.folder = counted_fsync, str(folder)
        try:
            yield
        finally:
            os.fsync, self.folder = self._fsync, ""


def _works_on_a_full_disk(event: str, arguments: tuple[Any, ...]) -> bool:
    """What cleans up: removing, and listing or renaming a folder."""
    if event == "open":
        return arguments[1] is None and os.path.isdir(arguments[0])  # noqa: PTH112 - as the event gives it
    return event == "os.remove" or (event == "os.rename" and os.path.isdir(arguments[0]))  # noqa: PTH112


FAULTS = Faults()


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at(step: int, folder: Path, act: Callable[[], object]) -> bool:
    """Run `act` in a fork of this process that is killed at that call; whether it was done before."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException), FAULTS.armed(folder, step, kill):
            act()
            os.write(writing, b"done")
        os._exit(0)
    os.close(writing)
    done = os.read(reading, 4) == b"done"
    os.close(reading)
    os.waitpid(pid, 0)
    return done
