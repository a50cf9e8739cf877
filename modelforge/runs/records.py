"""Which runs there are, in what state and how far. What starts and trains them is in `service.py`: it loads much that
listing runs does not need."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import psutil

from modelforge.caller import OWNER, acting_as, current_caller
from modelforge.errors import DiskFullError
from modelforge.processes import find_start_time, is_alive
from modelforge.runs.feed import Feed, Feeds
from modelforge.store import RunRecord, RunState, Store, utc_now


class RunRecords:
    """Every run of this home, to be read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._feeds = Feeds()

    def get(self, text: str) -> RunRecord:
        """A run by id or unique prefix."""
        self.find_interrupted()
        return self._store.runs.find(text)

    def all(self) -> list[RunRecord]:
        """Every run, the newest first."""
        self.find_interrupted()
        return self._store.runs.all()

    def feed(self, run_id: str) -> Feed:
        """The run's events. The same object for as long as the run exists, also for a run of another process."""
        if not current_caller().is_owner:
            self._store.runs.get(run_id)
        return self._feeds.of(run_id)

    def progress(self, record: RunRecord) -> tuple[int, int]:
        """(step, total steps) as far as known, also of a run in another process."""
        latest = self.feed(record.id).latest.get("progress") if record.state.active else None
        return (latest["step"], latest["total_steps"]) if latest else (record.step, record.total_steps)

    def find_interrupted(self) -> None:
        """Mark runs whose process is gone, by its pid and start time."""
        with acting_as(OWNER), contextlib.suppress(DiskFullError):  # marked once there is room: nothing else needs it
            self._find_interrupted()

    def _find_interrupted(self) -> None:
        if not any(is_lost(record) for record in self._store.runs.all()):
            return
        with self._store.transaction():  # read again: its process may have just written how it ended
            for record in self._store.runs.all():
                if is_lost(record):
                    step, total = self.progress(record)
                    ending = {"state": RunState.interrupted, "finished": utc_now(), "step": step, "total_steps": total}
                    self._store.runs.update(record.id, **ending)


def this_process() -> dict[str, Any]:
    """What a run's record says of the process that trains it."""
    return {"pid": os.getpid(), "process_started": find_start_time(psutil.Process())}


def is_lost(record: RunRecord) -> bool:
    """Whether a run is in progress by its record, but its process is gone."""
    return record.state.active and not (record.pid is not None and is_alive(record.pid, record.process_started or 0.0))
