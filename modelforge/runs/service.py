"""The runs service of a Forge: start, list, stop, resume, delete. What happens inside a run is in `training/run.py`."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelforge import base_model, paths, quotas
from modelforge.caller import OWNER, acting_as, check_may_train, current_caller
from modelforge.errors import ModelForgeError, NotFoundError, RunStateError, explain_os_errors
from modelforge.models.outcomes import read_outcomes
from modelforge.recipe import RECIPE_VERSION, Proof, Recipe, read_stored
from modelforge.runs.admission import Admission, Admitted
from modelforge.runs.baseline import predict_seconds, try_base
from modelforge.runs.comparison import Comparison, Entry, check_count, compare
from modelforge.runs.feed import Feed, read_events
from modelforge.runs.more_data import SHARES, Growth, check_can_ask, describe_growth, find_smaller, vary_share
from modelforge.runs.proof import Verification, check_inputs, verify, write_proof
from modelforge.runs.records import RunRecords, is_lost, this_process
from modelforge.runs.sweep import vary
from modelforge.runs.worker import Worker
from modelforge.store import DatasetRecord, RunRecord, RunState, Store, utc_now
from modelforge.store.folders import delete_folder, place_folder, unfinished
from modelforge.training.start import find_start

if TYPE_CHECKING:
    from modelforge.models.baseline import Baseline

log = logging.getLogger("modelforge")


class Run:
    """A handle on one run: read it, wait for it, stop it. Cheap to make; holds only its id."""

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
        """Wait for the end, at most that long. Returns the state."""
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


class Runs(RunRecords):
    """Every run of this home. admission: refuses a recipe that cannot work. before_run: called before each run."""

    def __init__(self, store: Store, admission: Admission, before_run: Callable[[], None] = lambda: None) -> None:
        super().__init__(store)
        self._admission = admission
        self._before_run = before_run
        self._worker = Worker(store, before_run, self._feeds)

    def start(self, recipe: Recipe) -> Run:
        """Queue a run. Raises ModelForgeError at once where it is known that the recipe cannot work."""
        self._check_person()
        return self._enqueue(self._admission.admit(recipe))

    def start_again(self, recipe: Recipe, proof: Proof) -> Run:
        """Queue a run of a recipe whose curve `verify` compares. Raises RecipeError if its data or the model that it
        starts from is not what the proof names, and what `start` raises."""
        self._check_person()
        admitted = self._admission.admit(recipe)
        revisions = find_start(admitted.recipe).find_revisions()
        check_inputs(proof, admitted.dataset, admitted.evaluation, revisions)
        return self._enqueue(admitted)

    def verify(self, text: str, proof: Proof) -> Verification:
        """Whether a run has the curve that a proof recorded."""
        return verify(proof, list(read_events(self.feed(self.get(text).id).path)))

    def write_proof(self, text: str) -> str:
        """The recipe of a finished run as YAML, with what it was trained on and its curve. Raises RunStateError."""
        record = self.get(text)
        recipe = read_stored(record.recipe, record.recipe_version).recipe
        with contextlib.suppress(NotFoundError):  # as the dataset was made of its file, to make it again elsewhere
            dataset = self._store.datasets.get(record.dataset_id)
            repairs: tuple[str, ...] = recipe.repairs or tuple(dataset.repairs)
            recipe = recipe.model_copy(update={"columns": recipe.columns or dataset.columns, "repairs": repairs})
        return write_proof(record, recipe, read_events(self.feed(record.id).path))

    def _check_person(self, runs: int = 1) -> None:
        """Whether this person may start so many more runs. Raises AccessError."""
        check_may_train("training")
        quotas.check_runs(self._store, runs)
        quotas.check_disk(self._store)

    def _enqueue(self, admitted: Admitted) -> Run:
        recipe, dataset, evaluation = admitted.recipe, admitted.dataset, admitted.evaluation
        named = {"dataset": dataset.id, "name": recipe.name or self._default_name(dataset, recipe)}
        named["eval_dataset"] = evaluation.id if evaluation else ""
        recipe = recipe.model_copy(update={**named, "base_model": base_model.canonical(recipe.base_model)})
        record = RunRecord(
            id=paths.new_id("run"),
            owner=current_caller().id,
            state=RunState.queued,
            recipe=recipe.model_dump(mode="json"),
            recipe_version=RECIPE_VERSION,
            dataset_id=dataset.id,
            dataset_name=dataset.name,
            created=(now := utc_now()),
            queued=now,
            **this_process(),
        )
        folder = paths.run_dir(record.id)
        with explain_os_errors(folder, paths.CANNOT_WRITE), unfinished(folder.parent) as partial:
            (partial / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
            place_folder(partial, folder)
        try:
            self._store.runs.add(record)
        except BaseException:
            delete_folder(folder, lambda: self._store.forget(record.id))  # it may be written all the same
            raise
        self._worker.submit(record)
        return Run(self, record.id)

    def try_base(
        self, recipe: Recipe, *, limit: int | None = None, watch: Callable[[float], None] | None = None
    ) -> Baseline:
        """The base model on rows that the recipe would hold out, before a first run; see `baseline.try_base`."""
        self._check_person()
        busy = self.refuse_beside_run
        return try_base(
            self._admission, recipe, free_memory=self._before_run, refuse_busy=busy, limit=limit, watch=watch
        )

    def predict_base(self, recipe: Recipe, *, limit: int | None = None) -> str:
        """How long `try_base` takes, by the planner, for people: "about 20 to 60 s"; "" where that is not known. Raises
        ModelForgeError for whatever a start would refuse."""
        self._check_person()
        self.refuse_beside_run()
        return predict_seconds(self._admission, recipe, limit)

    def refuse_beside_run(self) -> None:
        """Raises RunStateError while a run is in progress: it needs the memory."""
        if self.is_busy():
            own = self.current()
            raise RunStateError(
                "A run is in progress and needs the memory.",
                where=own.label if own else "",
                fix="Wait until it has ended, or stop it." if own else "Wait until it has ended.",
            )

    def start_sweep(self, recipe: Recipe, values: Mapping[str, Sequence[Any]]) -> list[Run]:
        """Queue a run for every combination of the values of one or two settings: all of them, or none. Raises
        ModelForgeError."""
        varied = vary(recipe, values)
        self._check_person(len(varied))
        admitted = [self._admission.admit(each) for each in varied]
        return [self._enqueue(each) for each in admitted]

    def start_smaller(self, text: str) -> list[Run]:
        """Queue runs of a finished run's recipe on a half and a quarter of its examples, those that there are not yet;
        the handles of both. Raises ModelForgeError for a run that cannot be asked about."""
        record = self.get(text)
        recipe, found = check_can_ask(record), find_smaller(record, self.all())
        missing = [share for share in SHARES if share not in found]
        if missing:
            self._check_person(len(missing))
        admitted = {share: self._admission.admit(vary_share(recipe, share)) for share in missing}
        started = {share: self._enqueue(each).id for share, each in admitted.items()}
        return [Run(self, started.get(share) or found[share].id) for share in SHARES]

    def describe_growth(self, text: str) -> Growth:
        """Whether more epochs, and as far as the smaller runs have finished, more data would help a finished run."""
        record = self.get(text)
        events, _ = self.feed(record.id).since(0)
        return describe_growth(record, find_smaller(record, self.all()), events)

    def _default_name(self, dataset: DatasetRecord, recipe: Recipe) -> str:
        if recipe.parent:
            return f"{self._store.models.get(recipe.parent).name}, further"[:120]
        return f"{Path(dataset.name).stem} on {Path(base_model.canonical(recipe.base_model)).name}"[:120]

    def stop(self, run_id: str) -> None:
        """Make a run save a model and end, within one step. Raises RunStateError when it is not in progress here."""
        self._worker.request_end(self._find_active(run_id).id, RunState.stopped)

    def pause(self, run_id: str) -> None:
        """Make a run save itself and end within one step, to be resumed later. Raises RunStateError."""
        self._worker.request_end(self._find_active(run_id).id, RunState.paused)

    def _find_active(self, run_id: str) -> RunRecord:
        record = self.get(run_id)
        if not record.state.active:
            raise RunStateError(f"This run is not in progress; it is {record.state.value}.", where=record.id)
        return record

    def resume(self, text: str) -> Run:
        """Queue a run again that was paused, interrupted or failed. It continues from its last checkpoint, or starts
        over if it has none. Raises RunStateError for a run in any other state."""
        record = self.get(text)
        if not record.state.resumable:
            raise RunStateError(
                f"This run cannot be resumed; it is {record.state.value}.",
                where=record.id,
                fix="Only paused, interrupted and failed runs can; train its model further instead.",
            )
        self._check_person()
        self._admission.admit(read_stored(record.recipe, record.recipe_version).recipe)
        with self._store.transaction():
            if not self._store.runs.get(record.id).state.resumable:  # resumed elsewhere in the meantime
                raise RunStateError("This run is already in progress.", where=record.id)
            changes = {"state": RunState.queued, "queued": utc_now(), "finished": None, "error": None}
            record = self._store.runs.update(record.id, **changes, **this_process())
        self._worker.submit(record)
        return Run(self, record.id)

    def resumable(self) -> list[RunRecord]:
        """Interrupted and paused runs: first those that had started, then the others in the order of the queue."""
        waiting = (RunState.interrupted, RunState.paused)
        found = [record for record in reversed(self.all()) if record.state in waiting]
        return sorted(found, key=lambda record: (record.started is None, record.queued or record.created))

    def resume_all(self) -> list[Run]:
        """Queue all interrupted and paused runs again, in their order."""
        return self._resume_each(self.resumable())

    def auto_resume(self) -> list[Run]:
        """Resume the interrupted runs whose recipe says `auto_resume`, except those that made no step the last time:
        they would be interrupted again."""
        wanted = [
            record
            for record in self.resumable()
            if record.state is RunState.interrupted and record.recipe.get("auto_resume") and self._made_progress(record)
        ]
        return self._resume_each(wanted)

    def _resume_each(self, records: Sequence[RunRecord]) -> list[Run]:
        """A run that cannot be resumed now, for example because its dataset was deleted, is left as it is."""
        resumed = []
        for record in records:
            try:
                resumed.append(self.resume(record.id))
            except ModelForgeError as error:
                log.warning("%s was not resumed: %s", record.id, error)
        return resumed

    def _made_progress(self, record: RunRecord) -> bool:
        """Whether it made a step since it last started, or has not started since it was queued."""
        if record.started is None or record.queued > record.started:
            return True
        latest = self.feed(record.id).latest.get("progress")
        return latest is not None and latest["time"] > record.started

    def move(self, text: str, place: int) -> None:
        """Give a queued run another place among the queued runs of the same person; 0 is next. Raises RunStateError for
        any other run."""
        record = self.get(text)
        self._worker.move(record.id, place)
        with self._store.transaction():
            waiting = [each for each in self.waiting() if each.owner == record.owner]
            times = sorted(each.queued for each in waiting)
            for each, queued in zip(waiting, times, strict=True):
                self._store.runs.update(each.id, queued=queued)

    def waiting(self) -> list[RunRecord]:
        """The runs in this process's queue, the next one first."""
        known = {record.id: record for record in self._store.runs.all()}
        return [known[run_id] for run_id in self._worker.waiting() if run_id in known]

    def is_waiting(self, run_id: str) -> bool:
        """Whether another run of its process is in progress or comes before it in the queue."""
        run = self.get(run_id)
        if run.state is not RunState.queued:
            return False
        queue = self._worker.waiting()  # empty for a run of another process
        ahead = queue[: queue.index(run_id)] if run_id in queue else ()
        with acting_as(OWNER):
            others = [each for each in self.all() if each.state.active and each.pid == run.pid and each.id != run_id]
        return any(
            each.id in ahead if each.id in queue else each.state is not RunState.queued or each.queued < run.queued
            for each in others
        )

    def is_busy(self) -> bool:
        """Whether anybody's run is in progress or waits: it needs the memory."""
        with acting_as(OWNER):
            return self.current() is not None

    def save_all(self, seconds: float) -> None:
        """Let every run of this process save itself, because the process ends; wait at most that long. They become
        interrupted, not paused: the user has paused none of them."""
        mine = [record.id for record in self.all() if record.state.active and record.pid == os.getpid()]
        for run_id in mine:  # the newest first, so that no waiting run starts
            with contextlib.suppress(RunStateError):  # it has just ended
                self._worker.request_end(run_id, RunState.paused)
        until = time.monotonic() + seconds
        for run_id in mine:
            self._worker.wait(run_id, max(until - time.monotonic(), 0))
        with self._store.transaction():
            for run_id in mine:
                if self._store.runs.get(run_id).state is RunState.paused:
                    self._store.runs.update(run_id, state=RunState.interrupted)

    def handle(self, text: str) -> Run:
        return Run(self, self.get(text).id)

    def current(self) -> RunRecord | None:
        """The run in progress, or the next in the queue."""
        active = [record for record in self.all() if record.state.active]
        running = [record for record in active if record.state is not RunState.queued]
        return next(iter(running or active[::-1]), None)

    def wait(self, run_id: str, seconds: float | None = None) -> bool:
        """Wait for the end of a run of this process; True when it is over."""
        return self._worker.wait(run_id, seconds)

    def compare(self, texts: Sequence[str]) -> Comparison:
        """Two to eight runs side by side, each by id or unique prefix. Raises NotFoundError, RunStateError."""
        records = [self.get(text) for text in texts]
        check_count([record.id for record in records])
        return compare([self._read_entry(record) for record in records])

    def _read_entry(self, record: RunRecord) -> Entry:
        recipe = read_stored(record.recipe, record.recipe_version).recipe
        held_out = (self._hash_of(record.dataset_id), recipe.eval_split, recipe.min_eval_rows, recipe.seed)
        rows = (self._hash_of(recipe.eval_dataset),) if recipe.eval_dataset else held_out
        measured = read_outcomes(record.model_id) if record.model_id else None
        return Entry(record, recipe, rows, read_events(self.feed(record.id).path), measured)

    def _hash_of(self, dataset_id: str) -> str:
        """Of its content; the id itself for a dataset that was deleted."""
        with contextlib.suppress(NotFoundError):
            return self._store.datasets.get(dataset_id).sha256
        return dataset_id

    def delete(self, text: str) -> str:
        """Remove a run's record, log and events; its model stays. Returns its id."""
        record = self.get(text)
        if record.state.active and not is_lost(record):
            raise RunStateError("A run in progress cannot be deleted.", where=record.id, fix="Stop it first.")
        delete_folder(paths.run_dir(record.id), lambda: self._store.forget(record.id))
        self._feeds.forget(record.id)
        return record.id

    def _find_interrupted(self) -> None:
        self._worker.write_endings()
        super()._find_interrupted()
