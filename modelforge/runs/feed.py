"""Events of runs: from the trainer's callback through one queue to a file and to whoever looks.

The worker only puts into the queue. A pump thread owned by the process writes each event to the run's `events.jsonl`
and into its feed, whether or not anybody watches. Viewers read from a cursor and never hold anything up.
"""

from __future__ import annotations

import json
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from modelforge.store import utc_now

Event = dict[str, Any]
RECENT = 2000  # events kept in memory for each run; older ones are read from its file


class Feed:
    """The events of one run. Event n is line n of its file, counted from 0."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.latest: dict[str, Event] = {}  # the newest event of each type
        self._recent: deque[Event] = deque(maxlen=RECENT)
        self._count = 0
        self._changed = threading.Condition()
        self._bytes_read = _size(path)
        for event in read_events(path):
            self._remember(event)

    def append(self, events: list[Event]) -> None:
        """Write events to the file, then show them. Called by the pump alone."""
        lines = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)
        try:
            with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:  # as JSON writes surrogates
                file.write(lines)
        finally:  # a full disk hides nothing from who is watching
            with self._changed:
                for event in events:
                    self._remember(event)
                self._changed.notify_all()

    def since(self, cursor: int) -> tuple[list[Event], int]:
        """The events from number `cursor` on, and the cursor to come back with."""
        with self._changed:
            count = self._count
            recent = list(self._recent)
        first = count - len(recent)
        if cursor >= first:
            return recent[max(cursor, 0) - first :], count
        older = list(read_events(self.path))[max(cursor, 0) : first]
        return older + recent, count

    def wait(self, cursor: int, seconds: float) -> bool:
        """Wait until there is more than `cursor` events; False when the time is over."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count > cursor, seconds)

    def is_outdated(self) -> bool:
        """Whether the file has changed since it was opened: for runs that another process writes."""
        return _size(self.path) != self._bytes_read

    def _remember(self, event: Event) -> None:
        self._recent.append(event)
        self._count += 1
        self.latest[event["type"]] = event


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
            item = self._queue.get()
            batch: list[tuple[Feed, Event]] = []
            flushed: list[threading.Event] = []
            while True:
                if isinstance(item, threading.Event):
                    flushed.append(item)
                else:
                    batch.append(item)
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            for feed in {id(feed): feed for feed, _ in batch}.values():
                self._write(feed, [event for target, event in batch if target is feed])
            for done in flushed:
                done.set()

    @staticmethod
    def _write(feed: Feed, events: list[Event]) -> None:
        try:
            feed.append(events)
        except OSError as error:  # a full disk must not end the thread that every run depends on
            import logging

            logging.getLogger("modelforge").error("events of %s could not be written: %s", feed.path.parent.name, error)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def read_events(path: Path) -> Iterator[Event]:
    """The events in a run's file; a line cut off by a crash, a full disk or a write under way is left out."""
    if not path.exists():
        return
    with path.open("rb") as file:  # the cut may be inside a character
        for line in file:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if line.endswith(b"\n") and isinstance(event, dict) and "type" in event:
                yield event
