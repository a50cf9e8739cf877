"""The one thread that takes runs from the queue, one at a time, and holds the accelerator.

It alone changes a run's state while it lives, and only forward. Only here is everything caught that a run may raise.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from modelforge import paths
from modelforge.compute import memory
from modelforge.data.prepare import read_rows
from modelforge.errors import RunStateError
from modelforge.recipe import read_stored
from modelforge.runs.failures import explain_failure
from modelforge.runs.feed import Feed, Pump
from modelforge.runs.watchdog import Watchdog
from modelforge.store import ModelRecord, RunRecord, RunState, Store, utc_now
from modelforge.training import checkpoints

log = logging.getLogger("modelforge")


class Worker:
    """A queue, a thread, and for each run of this process a feed, a stop flag and an end flag."""

    def __init__(self, store: Store, before_run: Callable[[], None]) -> None:
        self._store = store
        self._before_run = before_run
        self._waiting: list[str] = []
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._pump: Pump | None = None
        self._feeds: dict[str, Feed] = {}
        self._stops: dict[str, threading.Event] = {}
        self._pauses: dict[str, threading.Event] = {}
        self._ends: dict[str, threading.Event] = {}

    def submit(self, run_id: str) -> None:
        """Take a queued run when its turn comes."""
        with self._lock:
            for flags in (self._stops, self._pauses, self._ends):
                flags[run_id] = threading.Event()
            self._waiting.append(run_id)
            self._arrived.notify()
            if self._pump is None:
                memory.share_one_arena()
                self._pump = Pump()
                threading.Thread(target=self._work, name="modelforge-worker", daemon=True).start()

    def stop(self, run_id: str) -> None:
        """Let a run save a model and end."""
        self._leave(run_id, self._stops)

    def pause(self, run_id: str) -> None:
        """Let a run save itself and leave, to go on another time."""
        self._leave(run_id, self._pauses)

    def move(self, run_id: str, place: int) -> None:
        """Give a waiting run another place in the queue; 0 is next."""
        with self._lock:
            if run_id not in self._waiting:
                raise RunStateError("This run is not waiting.", where=run_id, fix="Only queued runs can be moved.")
            self._waiting.remove(run_id)
            self._waiting.insert(place, run_id)

    def waiting(self) -> tuple[str, ...]:
        """The runs in the queue, the next one first."""
        with self._lock:
            return tuple(self._waiting)

    def _leave(self, run_id: str, flags: dict[str, threading.Event]) -> None:
        if run_id not in flags:
            raise RunStateError(
                "This run belongs to another process.", where=run_id, fix="Stop it where it was started."
            )
        flags[run_id].set()
        self._change(run_id, (RunState.preparing, RunState.running), state=RunState.stopping)
        with self._lock:
            waited = run_id in self._waiting
            if waited:
                self._waiting.remove(run_id)
        if waited:  # it ends here and now: nobody has it in hand
            self._end_waiting(run_id)

    def _end_waiting(self, run_id: str) -> None:
        assert self._pump is not None  # noqa: S101 - made when the run came
        state = RunState.paused if self._pauses[run_id].is_set() else RunState.stopped
        record = self._store.runs.get(run_id)
        emit = self._pump.emitter(self.feed(run_id), run_id)
        emit(state.value, model_id=None, step=record.step, total_steps=record.total_steps, metrics={})
        self._pump.flush()
        self._store.runs.update(run_id, state=state, finished=utc_now())
        self._ends[run_id].set()

    def wait(self, run_id: str, seconds: float | None) -> bool:
        end = self._ends.get(run_id)
        return end.wait(seconds) if end else True

    def feed(self, run_id: str) -> Feed:
        """Those of a run in another process are read again whenever its file has changed."""
        with self._lock:
            feed = self._feeds.get(run_id)
            if feed is None or (run_id not in self._ends and feed.is_outdated()):
                feed = self._feeds[run_id] = Feed(paths.run_dir(run_id) / "events.jsonl")
            return feed

    def forget(self, run_id: str) -> None:
        with self._lock:
            self._feeds.pop(run_id, None)

    def _work(self) -> None:
        while True:
            with self._arrived:
                self._arrived.wait_for(lambda: self._waiting)
                run_id = self._waiting.pop(0)
            try:
                self._take(self._store.runs.get(run_id))
            except Exception:
                log.exception("the worker could not keep the books of %s", run_id)
            finally:
                self._ends[run_id].set()

    def _take(self, record: RunRecord) -> None:
        """One run, from the queue to its end, whatever happens."""
        assert self._pump is not None  # noqa: S101 - made before this thread
        emit = self._pump.emitter(self.feed(record.id), record.id)
        with _logged(paths.run_dir(record.id) / "log.txt"):
            ending, last = self._carry_out(record, emit)
        emit(**last)
        self._pump.flush()
        self._store.runs.update(record.id, finished=utc_now(), **ending)

    def _carry_out(self, record: RunRecord, emit: Callable[..., None]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Train; returns the record's last changes and the last event."""
        self._change(record.id, (RunState.queued,), state=RunState.preparing, started=utc_now())

        def forward(type: str, **fields: Any) -> None:
            watchdog.notice()
            if type == "started":
                self._change(record.id, (RunState.preparing,), state=RunState.running)
            emit(type, **fields)

        try:
            with Watchdog(emit) as watchdog:
                self._before_run()
                result = self._train(record, forward)
        except Exception as error:  # noqa: BLE001 - the one edge where everything is caught
            self._clear(record.id, keep=True)
            return self._describe_failure(error, {})
        finally:
            _free_memory()
        self._clear(record.id, keep=result.state is RunState.paused)
        numbers = {
            "model_id": result.model_id,
            "step": result.step,
            "total_steps": result.total_steps,
            "metrics": result.metrics,
            "peak_bytes": result.peak_bytes,
        }
        if result.error:
            return self._describe_failure(result.error, numbers)
        return {"state": result.state, "error": None, **numbers}, {"type": result.state.value, **numbers}

    @staticmethod
    def _describe_failure(error: Exception, numbers: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        failure = explain_failure(error)
        log.error("%s\n%s", failure["what"], "".join(traceback.format_exception(error)))
        return {"state": RunState.failed, "error": failure, **numbers}, {"type": "failed", **failure, **numbers}

    @staticmethod
    def _clear(run_id: str, *, keep: bool) -> None:
        """Remove what a run wrote for itself; keep: but for a checkpoint that it can go on from."""
        place = paths.run_dir(run_id) / "checkpoints"
        last = checkpoints.find_last(place) if keep else None
        if last is None:
            shutil.rmtree(place, ignore_errors=True)
        else:
            shutil.rmtree(place / checkpoints.PARTIAL, ignore_errors=True)

    def _train(self, record: RunRecord, emit: Callable[..., None]) -> Any:
        from modelforge.training.run import Job, train  # loads torch: not before the first run

        dataset = self._store.datasets.get(record.dataset_id)
        stored = read_stored(record.recipe, record.recipe_version)
        recipe = stored.recipe
        for note in stored.notes:
            emit("warning", message=note)
        result = train(
            Job(
                run_id=record.id,
                recipe=recipe,
                rows=read_rows(dataset.id),
                eval_rows=read_rows(recipe.eval_dataset) if recipe.eval_dataset else None,
                dataset={"id": dataset.id, "name": dataset.name, "rows": dataset.rows, "sha256": dataset.sha256},
                folder=paths.run_dir(record.id),
                emit=emit,
                is_stopping=self._stops[record.id].is_set,
                is_pausing=self._pauses[record.id].is_set,
            )
        )
        if result.model_id:
            self._store.models.add(model_record(result.model_id))
        return result

    def _change(self, run_id: str, only_from: tuple[RunState, ...], **changes: Any) -> None:
        with self._store.transaction():
            if self._store.runs.get(run_id).state in only_from:
                self._store.runs.update(run_id, **changes)


def model_record(model_id: str) -> ModelRecord:
    """The registry's record of a model, from its manifest."""
    from modelforge.models.folder import read_manifest

    manifest = read_manifest(model_id)
    dataset = manifest["dataset"]
    return ModelRecord(
        id=model_id,
        dataset_id=dataset["id"],
        dataset_name=dataset["name"],
        **{
            name: manifest[name]
            for name in (
                "name",
                "base_model",
                "custom_base_model",
                "task",
                "method",
                "tuning",
                "architecture",
                "parent",
                "created",
                "run_id",
                "metrics",
            )
            if name in manifest  # older ones lack some
        },
    )


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Write what modelforge, transformers, trl and peft log meanwhile into the run's log."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("modelforge", "transformers", "trl", "peft")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()


def _free_memory() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
