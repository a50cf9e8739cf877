"""Loads what the first run or chat needs while the user reads the first page.

The libraries import one another piece by piece, and an import that two threads are in at once can fail: whoever needs
them calls `wait` first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

_started, _begun, _done = threading.Event(), threading.Event(), threading.Event()


def start(
    after_seconds: float, *, first: Callable[[], object], probe: Callable[[], object], then: Callable[[], object]
) -> None:
    """Begin in the background. first: what the first page waits for, done before all else; probe: measures the machine,
    once torch is there; then: what comes last."""
    _started.set()
    timer = threading.Timer(after_seconds, _load, [first, probe, then])
    timer.daemon = True
    timer.start()


def is_done() -> bool:
    return _done.is_set()


def wait() -> None:
    """Until it is over; not at all where it was never begun."""
    if _started.is_set():
        _done.wait()


def wait_for_first() -> None:
    """Until what comes first is done; enough for who needs no more than that."""
    if _started.is_set():
        _begun.wait()


def _load(first: Callable[[], object], probe: Callable[[], object], then: Callable[[], object]) -> None:
    try:
        try:
            first()
        finally:
            _begun.set()
        probe()
        import peft  # noqa: F401
        import trl  # noqa: F401
    finally:
        _done.set()
    then()
