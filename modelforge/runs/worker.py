"""The one thread that takes runs from the queue, one at a time, and holds the accelerator.

It alone changes the state of a run in progress, and only forward. Only here is everything caught that a run may raise.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelforge import paths, quotas, warmup
from modelforge.caller import OWNER, Caller, acting_as, current_caller
from modelforge.compute import memory
from modelforge.data.prepare import read_rows
from modelforge.errors import NotFoundError, RunStateError
from modelforge.recipe import read_stored
from modelforge.runs.failures import explain_failure
from modelforge.runs.feed import Feeds, Pump
from modelforge.runs.watchdog import Watchdog
from modelforge.store import ModelRecord, RunRecord, RunState, Store, utc_now
from modelforge.store.files import open_private
from modelforge.store.leftovers import remove
from modelforge.store.manifests import KINDS

log = logging.getLogger("modelforge")


@dataclass(frozen=True, eq=False)
class Submission:
    """A run from the moment it is queued until it ends; a run that is resumed gets a new one. caller: the person for
    whom it trains, with what is only in memory: the person's token for the Hub."""

    run_id: str
    caller: Caller
    stop: threading.Event = field(default_factory=threading.Event)  # save a model and end
    pause: threading.Event = field(default_factory=threading.Event)  # save a checkpoint and end, to be resumed
    ended: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Ending:
    """How a run ended. numbers: model_id, step, total_steps, metrics, peak_bytes, as far as known. error: kind, what,
    where, fix. model: what it left."""

    state: RunState
    numbers: dict[str, Any]
    error: dict[str, str] | None = None
    model: ModelRecord | None = None
    finished: str = field(default_factory=utc_now)

    @property
    def changes(self) -> dict[str, Any]:
        """Of the run's record."""
        return {"state": self.state, "error": self.error, "finished": self.finished, **self.numbers}

    @property
    def event(self) -> dict[str, Any]:
        """The run's last event."""
        return {"type": self.state.value, **(self.error or {}), **self.numbers}


class Worker:
    """A queue, a thread, and the submissions of this process. feeds: gets the events of the runs that it trains."""

    def __init__(self, store: Store, before_run: Callable[[], None], feeds: Feeds) -> None:
        self._store = store
        self._feeds = feeds
        self._before_run = before_run
        self._waiting: list[Submission] = []  # in the order in which they came, or were moved; see `_in_turn`
        self._running: Submission | None = None
        self._submissions: dict[str, Submission] = {}  # waiting or in progress, by run
        self._unwritten: dict[str, Ending] = {}  # by run: those that the registry could not take
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._pump: Pump | None = None

    def submit(self, record: RunRecord) -> None:
        """Add a run to the queue, for the person whose it is, whoever resumes it."""
        caller = current_caller()
        if caller.id != record.owner:
            caller = Caller(record.owner, record.owner, is_owner=False, is_local=False)
        with self._lock:
            submission = self._submissions[record.id] = Submission(record.id, caller)
            self._waiting.append(submission)
            self._arrived.notify()
            if self._pump is None:
                memory.share_one_arena()
                self._pump = Pump()
                threading.Thread(target=self._work, name="modelforge-worker", daemon=True).start()

    def request_end(self, run_id: str, state: RunState) -> None:
        """Let a run save a model and end (stopped), or save itself and end, to be resumed later (paused)."""
        record, submission = self._store.runs.get(run_id), self._submissions.get(run_id)
        if submission is None:
            raise RunStateError(
                "This run belongs to another process.", where=run_id, fix="Stop it where it was started."
            )
        (submission.pause if state is RunState.paused else submission.stop).set()
        self._change(run_id, (RunState.preparing, RunState.running), state=RunState.stopping)
        with self._lock:
            waited = submission in self._waiting
            if waited:
                self._waiting.remove(submission)
        if waited:  # the thread has not taken it: it ends at once
            steps = {"step": record.step, "total_steps": record.total_steps}
            self._end(submission, Ending(state, {"model_id": None, "metrics": {}, **steps}))

    def move(self, run_id: str, place: int) -> None:
        """Give a waiting run another place among those of the same person; 0 is next."""
        with self._lock:
            submission = self._submissions.get(run_id)
            if submission is None or submission not in self._waiting:
                raise RunStateError("This run is not waiting.", where=run_id, fix="Only queued runs can be moved.")
            self._waiting.remove(submission)
            own = [each for each in self._waiting if each.caller.id == submission.caller.id]
            before = self._waiting.index(own[place]) if place < len(own) else len(self._waiting)
            self._waiting.insert(before, submission)

    def waiting(self) -> tuple[str, ...]:
        """The runs in the queue, the next one first."""
        with self._lock:
            return tuple(submission.run_id for submission in self._in_turn())

    def _in_turn(self) -> list[Submission]:
        """The queue in its order: people take turns, each one's runs in the order of that person; who has a run in
        progress comes after those who have none."""
        turns = Counter([self._running.caller.id] if self._running else [])
        placed = []
        for place, each in enumerate(self._waiting):
            placed.append((turns[each.caller.id], place, each))
            turns[each.caller.id] += 1
        return [each for _, _, each in sorted(placed, key=lambda entry: entry[:2])]

    def wait(self, run_id: str, seconds: float | None) -> bool:
        """Wait for the end of a run of this process; True when it is over."""
        submission = self._submissions.get(run_id)
        return submission.ended.wait(seconds) if submission else True

    def write_endings(self) -> None:
        """Try again to write the endings that the registry could not take."""
        for run_id in list(self._unwritten):
            ending = self._unwritten.pop(run_id, None)
            if ending and self._write_ending(run_id, ending):
                self._unwritten[run_id] = ending

    def _work(self) -> None:
        with acting_as(OWNER):  # of the app; a run trains for its own person
            while True:
                self._work_on_next()

    def _work_on_next(self) -> None:
        with self._arrived:
            self._arrived.wait_for(lambda: self._waiting)
            submission = self._running = self._in_turn()[0]
            self._waiting.remove(submission)
        try:
            with _logged(paths.run_dir(submission.run_id) / "log.txt"):
                ending = self._run(submission)
        except Exception as error:  # noqa: BLE001 - the run ends as failed, whatever it was
            ending = _describe_failure(error)
        self._end(submission, ending)
        with self._lock:
            self._running = None

    def _run(self, submission: Submission) -> Ending:
        """Train, and clean up; returns how it ended."""
        run_id = submission.run_id
        self._change(run_id, (RunState.queued,), state=RunState.preparing, started=utc_now())
        emit = self._emitter(run_id)

        def forward(type: str, **fields: Any) -> None:
            watchdog.notice()
            if type == "started":
                self._change(run_id, (RunState.preparing,), state=RunState.running)
            emit(type, **fields)

        try:
            with Watchdog(emit) as watchdog, acting_as(submission.caller), _time_limit(submission, emit):
                self._before_run()
                result = self._train(submission, forward)
            model = model_record(result.model_id) if result.model_id else None
        except Exception as error:  # noqa: BLE001 - the one edge where everything is caught
            return _describe_failure(error)
        finally:
            _free_memory()
        names = ("model_id", "step", "total_steps", "metrics", "peak_bytes")
        numbers = {name: getattr(result, name) for name in names}
        if not result.total_steps:  # left while it was prepared: what an earlier process has trained still counts
            record = self._store.runs.get(run_id)
            numbers |= {"step": record.step, "total_steps": record.total_steps}
        ending = Ending(result.state, numbers, model=model)
        return _describe_failure(result.error, ending) if result.error else ending

    def _end(self, submission: Submission, ending: Ending) -> None:
        """Write how a run ended. Where the registry refuses it twice, the run has failed, for that reason."""
        run_id = submission.run_id
        problem = self._write_ending(run_id, ending) and self._write_ending(run_id, ending)
        if problem:
            ending = _describe_failure(problem, ending)
            if self._write_ending(run_id, ending):
                self._unwritten[run_id] = ending
        self._emitter(run_id)(**ending.event)
        assert self._pump is not None  # noqa: S101 - made when the run came
        self._pump.flush()
        with self._lock:
            if self._submissions.get(run_id) is submission:
                del self._submissions[run_id]
        submission.ended.set()

    def _write_ending(self, run_id: str, ending: Ending) -> Exception | None:
        """Write the run's record and its model's, or neither; then what it saved to resume from is not needed any more.
        Returns the error that prevented it, if any."""
        try:
            with self._store.transaction():
                if ending.model and ending.model.id not in {model.id for model in self._store.models.all()}:
                    self._store.models.add(ending.model)
                with contextlib.suppress(NotFoundError):  # the list of runs was lost
                    self._store.runs.update(run_id, **ending.changes)
        except Exception as error:  # noqa: BLE001 - the caller reports it
            return error
        if ending.model or not ending.state.resumable:
            remove(paths.run_dir(run_id) / "checkpoints")
        return None

    def _emitter(self, run_id: str) -> Callable[..., None]:
        assert self._pump is not None  # noqa: S101 - made when the first run came
        return self._pump.emitter(self._feeds.of(run_id), run_id)

    def _train(self, submission: Submission, emit: Callable[..., None]) -> Any:
        from modelforge.training.run import Job, train  # loads torch: not before the first run

        warmup.keep_libraries()
        record = self._store.runs.get(submission.run_id)
        dataset = self._store.datasets.get(record.dataset_id)
        stored = read_stored(record.recipe, record.recipe_version)
        recipe = stored.recipe
        evaluation = self._store.datasets.get(recipe.eval_dataset) if recipe.eval_dataset else None
        used = {"id": dataset.id, "name": dataset.name, "rows": dataset.rows, "sha256": dataset.sha256}
        for note in stored.notes:
            emit("warning", message=note)
        return train(
            Job(
                run_id=record.id,
                recipe=recipe,
                rows=read_rows(dataset.id),
                eval_rows=read_rows(evaluation.id) if evaluation else None,
                dataset={**used, "eval_sha256": evaluation.sha256 if evaluation else ""},
                folder=paths.run_dir(record.id),
                emit=emit,
                is_stopping=submission.stop.is_set,
                is_pausing=submission.pause.is_set,
            )
        )

    def _change(self, run_id: str, only_from: tuple[RunState, ...], **changes: Any) -> None:
        with self._store.transaction():
            if self._store.runs.get(run_id).state in only_from:
                self._store.runs.update(run_id, **changes)


def load_training() -> None:
    """Load what trains, with torch and the libraries; else the first run does it."""
    import modelforge.training.run  # noqa: F401


def _describe_failure(error: Exception, ending: Ending | None = None) -> Ending:
    """ending: what is known of the run apart from the error."""
    failure = explain_failure(error)
    log.error("%s\n%s", failure["what"], "".join(traceback.format_exception(error)))
    return replace(ending or Ending(RunState.failed, {}), state=RunState.failed, error=failure)


def model_record(model_id: str) -> ModelRecord:
    """The registry's record of a model, from its manifest."""
    from modelforge.models.folder import read_manifest

    model, _ = KINDS
    fields = model.read(read_manifest(model_id), paths.model_dir(model_id))
    return ModelRecord.model_validate({**fields, "id": model_id})


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Write the log messages of modelforge, transformers, trl and peft to the run's log."""
    handler = logging.StreamHandler(open_private(path, "a", encoding="utf-8"))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("modelforge", "transformers", "trl", "peft")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.stream.close()


@contextlib.contextmanager
def _time_limit(submission: Submission, emit: Callable[..., None]) -> Iterator[None]:
    """Stop a run that takes longer than its person's may, if there is a limit."""
    limits = quotas.current()

    def stop() -> None:
        hours = limits.run_hours if limits else 0
        emit("warning", message=f"This run was stopped after {hours:g} hours, the limit for each person's runs.")
        submission.stop.set()

    timer = threading.Timer(limits.run_hours * 3600 if limits else threading.TIMEOUT_MAX, stop)
    timer.daemon = True
    if limits:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _free_memory() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
