"""Events of runs: from the trainer's callback through one queue to a file and to all viewers.

The training thread only puts events into the queue. One pump thread for the process writes each event to the run's
`events.jsonl` and its feed, whether or not anybody watches. Viewers read from a cursor and never hold anything up.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from modelforge import paths
from modelforge.store import utc_now
from modelforge.store.files import open_private

log = logging.getLogger("modelforge")

Event = dict[str, Any]
RECENT = 2000  # events kept in memory for each run; older ones are read from its file


class Feed:
    """The events of one run. Event n is line n of its file, counted from 0.

    It follows its file, whichever process writes it: a viewer can keep the same feed for as long as it likes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._latest: dict[str, Event] = {}
        self._recent: deque[Event] = deque(maxlen=RECENT)
        self._count = 0
        self._bytes_read = 0
        self._changed = threading.Condition()

    @property
    def latest(self) -> dict[str, Event]:
        """The newest event of each type."""
        with self._changed:
            self._read_new()
            return dict(self._latest)

    def append(self, events: list[Event]) -> None:
        """Write events to the file, then show them. Called by the pump alone. Raises OSError."""
        lines = [_encode(event) for event in events]
        with self._changed:
            try:
                with open_private(self.path, "a+b") as file:
                    _end_torn_line(file)
                    self._read_new()
                    file.writelines(lines)
            finally:  # a full disk hides nothing from viewers
                for line in lines:
                    self._remember(json.loads(line))
                self._bytes_read = _size(self.path)
                self._changed.notify_all()

    def since(self, cursor: int) -> tuple[list[Event], int]:
        """The events from number `cursor` on, and the cursor to come back with."""
        with self._changed:
            self._read_new()
            count = self._count
            recent = list(self._recent)
        first = count - len(recent)
        if cursor >= first:
            return recent[max(cursor, 0) - first :], count
        older = list(read_events(self.path))[max(cursor, 0) : first]
        return older + recent, count

    def wait(self, cursor: int, seconds: float) -> bool:
        """Wait until this process has added events after `cursor`; False after that many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count > cursor, seconds)

    def _read_new(self) -> None:
        """Read the complete lines that another process has added to the file."""
        if _size(self.path) <= self._bytes_read:
            return
        with self.path.open("rb") as file:
            file.seek(self._bytes_read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._bytes_read += len(line)
                if event := _decode(line):
                    self._remember(event)

    def _remember(self, event: Event) -> None:
        self._recent.append(event)
        self._count += 1
        self._latest[event["type"]] = event


class Feeds:
    """The one feed of each run in this process, that it trains or shows; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_run: dict[str, Feed] = {}

    def of(self, run_id: str) -> Feed:
        with self._lock:
            return self._by_run.setdefault(run_id, Feed(paths.run_dir(run_id) / "events.jsonl"))

    def forget(self, run_id: str) -> None:
        with self._lock:
            self._by_run.pop(run_id, None)


class Pump:
    """One queue and one thread for all runs of this process."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[Feed, Event] | threading.Event] = queue.Queue()
        threading.Thread(target=self._drain, name="modelforge-pump", daemon=True).start()

    def emitter(self, feed: Feed, run_id: str) -> Callable[..., None]:
        """What the training thread calls: `emit("progress", step=3, ...)`. It never blocks."""

        def emit(type: str, **fields: Any) -> None:
            self._queue.put((feed, {"type": type, "time": utc_now(), "run_id": run_id, **fields}))

        return emit

    def flush(self) -> None:
        """Wait until everything put so far is written and shown."""
        done = threading.Event()
        self._queue.put(done)
        done.wait()

    def _drain(self) -> None:
        while True:
            items = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    items.append(self._queue.get_nowait())
            batches: dict[Feed, list[Event]] = {}
            for item in items:
                if not isinstance(item, threading.Event):
                    batches.setdefault(item[0], []).append(item[1])
            for feed, events in batches.items():
                self._write(feed, events)
            for item in items:
                if isinstance(item, threading.Event):
                    item.set()

    @staticmethod
    def _write(feed: Feed, events: list[Event]) -> None:
        try:
            feed.append(events)
        except OSError as error:  # a full disk must not end the thread that every run depends on
            log.error("events of %s could not be written: %s", feed.path.parent.name, error)


def read_events(path: Path) -> Iterator[Event]:
    """The events in a run's file; a line cut off by a crash, a full disk or a write under way is left out."""
    if not path.exists():
        return
    with path.open("rb") as file:  # the cut may be inside a character
        for line in file:
            if line.endswith(b"\n") and (event := _decode(line)):
                yield event


def _decode(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "type" in event else None


def _encode(event: Event) -> bytes:
    """An event as a line. Nothing that it holds may end the pump: what JSON cannot hold is written as its type."""
    try:
        text = json.dumps(event, ensure_ascii=False, default=_simplify)
    except Exception:
        log.exception("an event of %s cannot be written as JSON", event.get("run_id"))
        text = json.dumps({name: _keep_plain(value) for name, value in event.items()}, ensure_ascii=False)
    return (text + "\n").encode("utf-8", "backslashreplace")  # surrogates, as JSON writes them


def _simplify(value: Any) -> Any:
    """Numbers and arrays of NumPy and PyTorch as numbers, sets as lists, anything else as text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, set | frozenset) else str(value)


def _keep_plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | None) else f"({type(value).__name__})"


def _end_torn_line(file: IO[bytes]) -> None:
    """End a line that a power cut has cut off, so that the next event starts on a new line."""
    if file.seek(0, os.SEEK_END):
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
            file.flush()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
