"""Warns when a run makes no progress."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

QUIET_SECONDS = 600.0  # a step of the largest run that a processor is offered takes a minute or two


class Watchdog:
    """`with Watchdog(emit) as dog:` and `dog.notice()` at every event; emits one `warning` after each long
    silence. Time is monotonic: the sleep of a laptop does not count."""

    def __init__(self, emit: Callable[..., None], *, quiet_seconds: float = QUIET_SECONDS) -> None:
        self.emit = emit
        self.quiet_seconds = quiet_seconds
        self._seen = time.monotonic()
        self._warned = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="modelforge-watchdog", daemon=True)

    def notice(self) -> None:
        self._seen, self._warned = time.monotonic(), False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(min(self.quiet_seconds / 4, 30.0)):
            silent = time.monotonic() - self._seen
            if silent > self.quiet_seconds and not self._warned:
                self._warned = True
                minutes = max(round(silent / 60), 1)
                self.emit(
                    "warning",
                    message=f"This run has made no progress for {minutes} minutes. It may be waiting for memory or for "
                    "another program. Stop it if this continues.",
                )
