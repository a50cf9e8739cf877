"""The runs service of a Forge: start, look, stop, delete. What happens inside a run is in `run.py`."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from modelforge import base_model, paths
from modelforge.errors import ModelForgeError, RunStateError
from modelforge.recipe import RECIPE_VERSION, Recipe, read_stored
from modelforge.runs.admission import Admission, Admitted
from modelforge.runs.feed import Feed, read_events
from modelforge.runs.sweep import vary
from modelforge.runs.worker import Worker
from modelforge.store import DatasetRecord, RunRecord, RunState, Store, utc_now

log = logging.getLogger("modelforge")


class Run:
    """A handle on one run: look at it, wait for it, stop it. Cheap to make; holds no more than its id."""

    def __init__(self, runs: Runs, run_id: str) -> None:
        self._runs = runs
        self.id = run_id

    @property
    def record(self) -> RunRecord:
        return self._runs.get(self.id)

    @property
    def state(self) -> RunState:
        return self.record.state

    @property
    def model_id(self) -> str | None:
        return self.record.model_id

    @property
    def feed(self) -> Feed:
        return self._runs.feed(self.id)

    def stop(self) -> None:
        self._runs.stop(self.id)

    def pause(self) -> None:
        self._runs.pause(self.id)

    def resume(self) -> None:
        self._runs.resume(self.id)

    def wait(self, seconds: float | None = None) -> RunState:
        """Wait for the end, at most that long; returns the state."""
        self._runs.wait(self.id, seconds)
        return self.state

    def events(self, cursor: int = 0) -> Iterator[dict[str, Any]]:
        """Every event, from number `cursor` to the last, as they come."""
        while True:
            ended = self._runs.wait(self.id, 0)
            events, cursor = self.feed.since(cursor)
            yield from events
            if ended and not events:
                return
            if not ended:
                self.feed.wait(cursor, 0.5)


class Runs:
    """Every run of this home. `admission` refuses a recipe that cannot work."""

    def __init__(self, store: Store, admission: Admission, before_run: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._admission = admission
        self._worker = Worker(store, before_run)

    def start(self, recipe: Recipe) -> Run:
        """Put a run into the queue. Raises ModelForgeError at once for what can be known to be wrong."""
        return self._enqueue(self._admission.admit(recipe))

    def _enqueue(self, admitted: Admitted) -> Run:
        recipe, dataset, evaluation = admitted.recipe, admitted.dataset, admitted.evaluation
        named = {"dataset": dataset.id, "name": recipe.name or self._default_name(dataset, recipe)}
        named["eval_dataset"] = evaluation.id if evaluation else ""
        recipe = recipe.model_copy(update={**named, "base_model": base_model.canonical(recipe.base_model)})
        record = RunRecord(
            id=paths.new_id("run"),
            state=RunState.queued,
            recipe=recipe.model_dump(mode="json"),
            recipe_version=RECIPE_VERSION,
            dataset_id=dataset.id,
            dataset_name=dataset.name,
            created=(now := utc_now()),
            queued=now,
            pid=os.getpid(),
            process_started=began(psutil.Process()),
        )
        folder = paths.run_dir(record.id)
        folder.mkdir(parents=True)
        try:
            (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
            self._store.runs.add(record)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._worker.submit(record.id)
        return Run(self, record.id)

    def start_sweep(self, recipe: Recipe, values: Mapping[str, Sequence[Any]]) -> list[Run]:
        """Queue a run for every combination of the values of one or two settings. Nothing is queued unless all can
        be; raises ModelForgeError."""
        admitted = [self._admission.admit(each) for each in vary(recipe, values)]
        return [self._enqueue(each) for each in admitted]

    def _default_name(self, dataset: DatasetRecord, recipe: Recipe) -> str:
        if recipe.parent:
            return f"{self._store.models.get(recipe.parent).name}, further"[:120]
        return f"{Path(dataset.name).stem} on {Path(base_model.canonical(recipe.base_model)).name}"[:120]

    def stop(self, run_id: str) -> None:
        """Ask a run to save and stop; it does so within one step. Raises RunStateError when it is not running here."""
        record = self.get(run_id)
        if not record.state.active:
            raise RunStateError(f"This run is not in progress; it is {record.state.value}.", where=record.id)
        self._worker.stop(record.id)

    def pause(self, run_id: str) -> None:
        """Ask a run to save itself and leave within one step, to go on another time. Raises RunStateError."""
        record = self.get(run_id)
        if not record.state.active:
            raise RunStateError(f"This run is not in progress; it is {record.state.value}.", where=record.id)
        self._worker.pause(record.id)

    def resume(self, text: str) -> Run:
        """Put a run that was paused, interrupted or failed into the queue again: it goes on from its last checkpoint,
        or begins anew where it has none. Raises RunStateError for any other."""
        record = self.get(text)
        if not record.state.resumable:
            raise RunStateError(
                f"This run cannot go on; it is {record.state.value}.",
                where=record.id,
                fix="Only runs that were paused, interrupted or failed can; train its model further instead.",
            )
        self._admission.admit(read_stored(record.recipe, record.recipe_version).recipe)
        with self._store.transaction():
            if not self._store.runs.get(record.id).state.resumable:  # somebody else was faster
                raise RunStateError("This run is in progress already.", where=record.id)
            changes = {"state": RunState.queued, "queued": utc_now(), "finished": None, "error": None}
            process = {"pid": os.getpid(), "process_started": began(psutil.Process())}
            self._store.runs.update(record.id, **changes, **process)
        self._worker.submit(record.id)
        return Run(self, record.id)

    def resumable(self) -> list[RunRecord]:
        """The runs that were cut off or paused, those that had begun first, then as they stood in the queue."""
        waiting = (RunState.interrupted, RunState.paused)
        found = [record for record in reversed(self.all()) if record.state in waiting]
        return sorted(found, key=lambda record: (record.started is None, record.queued or record.created))

    def resume_all(self) -> list[Run]:
        """Put all that were cut off or paused into the queue again, in the order in which they were to be trained."""
        return self._resume_each(self.resumable())

    def take_up(self) -> list[Run]:
        """Let those go on that were cut off and whose recipe says that they do so by themselves; but not one that came
        no step further the last time, as it would be cut off again."""
        wanted = [
            record
            for record in self.resumable()
            if record.state is RunState.interrupted and record.recipe.get("auto_resume") and _came_further(record)
        ]
        return self._resume_each(wanted)

    def _resume_each(self, records: Sequence[RunRecord]) -> list[Run]:
        """One that cannot be resumed now, as its dataset was deleted, does not hold up the others: it stays as it is,
        and says why when it is resumed by itself."""
        resumed = []
        for record in records:
            try:
                resumed.append(self.resume(record.id))
            except ModelForgeError as error:
                log.warning("%s was not resumed: %s", record.id, error)
        return resumed

    def move(self, text: str, place: int) -> None:
        """Give a queued run another place in the queue; 0 is next. Raises RunStateError for one that does not wait."""
        self._worker.move(self.get(text).id, place)
        with self._store.transaction():
            waiting = [self._store.runs.get(run_id) for run_id in self._worker.waiting()]
            times = sorted(record.queued for record in waiting)
            for record, queued in zip(waiting, times, strict=True):
                self._store.runs.update(record.id, queued=queued)

    def waiting(self) -> list[RunRecord]:
        """The runs in this process's queue, the next one first."""
        return [self._store.runs.get(run_id) for run_id in self._worker.waiting()]

    def leave(self, seconds: float) -> None:
        """Let the run in progress and those that wait save themselves, as the process is asked to end; wait for that so
        long at most. They are interrupted then: nobody has paused them."""
        mine = [record.id for record in self.all() if record.state.active and record.pid == os.getpid()]
        for run_id in mine:  # the newest first: none of those that wait shall begin meanwhile
            self._worker.pause(run_id)
        until = time.monotonic() + seconds
        for run_id in mine:
            self._worker.wait(run_id, max(until - time.monotonic(), 0))
        with self._store.transaction():
            for run_id in mine:
                if self._store.runs.get(run_id).state is RunState.paused:
                    self._store.runs.update(run_id, state=RunState.interrupted)

    def handle(self, text: str) -> Run:
        return Run(self, self.get(text).id)

    def get(self, text: str) -> RunRecord:
        """A run by id or unique prefix."""
        self.find_interrupted()
        return self._store.runs.find(text)

    def all(self) -> list[RunRecord]:
        """Every run, the newest first."""
        self.find_interrupted()
        return self._store.runs.all()

    def current(self) -> RunRecord | None:
        """The run in progress, or the next in the queue."""
        active = [record for record in self.all() if record.state.active]
        running = [record for record in active if record.state is not RunState.queued]
        return next(iter(running or active[::-1]), None)

    def feed(self, run_id: str) -> Feed:
        """The run's events, to be read from a cursor."""
        return self._worker.feed(run_id)

    def progress(self, record: RunRecord) -> tuple[int, int]:
        """(step, total steps) as far as known, also of a run in another process."""
        if not record.state.active:
            return record.step, record.total_steps
        return latest_progress(record)

    def wait(self, run_id: str, seconds: float | None = None) -> bool:
        """Wait for the end of a run of this process; True when it is over."""
        return self._worker.wait(run_id, seconds)

    def delete(self, text: str) -> str:
        """Remove a run's record, log and events; its model stays. Returns its id."""
        record = self.get(text)
        if record.state.active:
            raise RunStateError("A run in progress cannot be deleted.", where=record.id, fix="Stop it first.")
        self._store.runs.delete(record.id)
        self._worker.forget(record.id)
        shutil.rmtree(paths.run_dir(record.id), ignore_errors=True)
        return record.id

    def find_interrupted(self) -> None:
        """Mark runs whose process is gone, by its pid and start time."""
        if not any(record.state.active and not _is_alive(record) for record in self._store.runs.all()):
            return
        with self._store.transaction():  # looked at again: its process may have written its end and left meanwhile
            for record in self._store.runs.all():
                if record.state.active and not _is_alive(record):
                    step, total = latest_progress(record)
                    ending = {"state": RunState.interrupted, "finished": utc_now(), "step": step, "total_steps": total}
                    self._store.runs.update(record.id, **ending)


def latest_progress(record: RunRecord) -> tuple[int, int]:
    """(step, total steps) from the run's own file of events."""
    latest = (record.step, record.total_steps)
    for event in read_events(paths.run_dir(record.id) / "events.jsonl"):
        if event["type"] == "progress":
            latest = event["step"], event["total_steps"]
    return latest


def _came_further(record: RunRecord) -> bool:
    """Whether it made a step since its turn came last; one that has only waited shall have its turn."""
    if record.started is None or record.queued > record.started:
        return True
    events = read_events(paths.run_dir(record.id) / "events.jsonl")
    return any(event["type"] == "progress" and event["time"] > record.started for event in events)


def began(process: psutil.Process) -> float:
    """When a process was started, in seconds by a clock that nobody sets.

    Linux counts from the system's start, and psutil adds a time that moves when the clock is put right, as it is when a
    laptop wakes: all runs would seem dead then.
    """
    return process.create_time() - (psutil.boot_time() if psutil.LINUX else 0.0)


def _is_alive(record: RunRecord) -> bool:
    if record.pid is None:
        return False
    try:
        process = psutil.Process(record.pid)
        same = abs(began(process) - (record.process_started or 0.0)) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE  # killed, and nobody has asked after it yet
    except psutil.Error:  # gone, or somebody else's by now
        return False
