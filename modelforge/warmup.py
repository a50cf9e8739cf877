"""Loads the libraries that the first run or chat needs while the user reads the first page.

The libraries import one another lazily, and an import by two threads at once can fail: code that needs them calls
`wait` first.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

_started, _first_done, _done = threading.Event(), threading.Event(), threading.Event()


def start(
    after_seconds: float,
    *,
    first: Callable[[], object],
    probe: Callable[[], object],
    training: Callable[[], object],
    then: Callable[[], object],
) -> None:
    """Start in the background. first: what the first page waits for; probe: measures the machine, once torch is loaded;
    training: loads what trains; then: called at the end."""
    _started.set()
    timer = threading.Timer(after_seconds, _load, [first, probe, training, then])
    timer.daemon = True
    timer.start()


def is_done() -> bool:
    return _done.is_set()


def wait() -> None:
    """Wait until everything is loaded; returns at once if it was never started."""
    if _started.is_set():
        _done.wait()


def wait_for_first() -> None:
    """Wait only until `first` is done."""
    if _started.is_set():
        _first_done.wait()


_kept = threading.Event()


def keep_libraries() -> None:
    """Leave what is loaded now out of later collections of garbage. The libraries make a million objects that stay, and
    looking through them takes over half a second each time, in which nothing else runs. Has an effect once."""
    if not _kept.is_set():
        _kept.set()
        gc.collect()
        gc.freeze()


def _load(
    first: Callable[[], object],
    probe: Callable[[], object],
    training: Callable[[], object],
    then: Callable[[], object],
) -> None:
    try:
        try:
            first()
        finally:
            _first_done.set()
        probe()
        import peft  # noqa: F401
        import trl  # noqa: F401

        training()
        keep_libraries()
    finally:
        _done.set()
    then()
