"""A run from start to end: takes a recipe and a dataset, writes a finished model's folder. Read `train` first.

It knows nothing about viewers and never waits for one; everything it reports goes through `emit`.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from modelforge import catalog, hardware
from modelforge.architecture import ENCODER
from modelforge.building import BUILDING
from modelforge.compute import memory
from modelforge.compute.compute import Compute
from modelforge.compute.fused_model import fused_model, settle_weights
from modelforge.compute.kernels.build import load_kernels
from modelforge.compute.kernels.use import name_kernels, using
from modelforge.compute.tune import tune
from modelforge.errors import ModelForgeError, RunawayError
from modelforge.models.folder import package_versions, save_model
from modelforge.paths import make_folder
from modelforge.planner.estimate import Machine, Plan, Rows, estimate_roughly
from modelforge.planner.plan import record_outcome
from modelforge.planner.service import SERVICE
from modelforge.recipe import RECIPE_VERSION, Recipe
from modelforge.store import RunState, utc_now
from modelforge.tasks.extractive_question_answering import has_unanswerable
from modelforge.training import checkpoints
from modelforge.training.callback import EventCallback, RunStopped
from modelforge.training.examples import Encoding, Examples, encode_examples
from modelforge.training.frozen_layers import stored_frozen_layers
from modelforge.training.methods import load_method
from modelforge.training.neighbours import Used, shared_processor
from modelforge.training.samples import SamplingCallback, show_answers
from modelforge.training.saving import add_saving, load_best, pause, train_from
from modelforge.training.start import Start, find_start
from modelforge.training.trackers import tracked
from modelforge.training.verdict import keep_verdict, measure_run

log = logging.getLogger("modelforge")


@dataclass(frozen=True)
class Job:
    """What the worker passes in. rows: mapped rows. dataset: their source, for the manifest. eval_rows: rows of another
    dataset to evaluate on; None holds out a share of `rows`. folder: the run's; a checkpoint in it is resumed from."""

    run_id: str
    recipe: Recipe
    rows: Sequence[Mapping[str, Any]]
    dataset: Mapping[str, Any]
    folder: Path
    emit: Callable[..., None]
    is_stopping: Callable[[], bool]
    is_pausing: Callable[[], bool] = lambda: False
    eval_rows: Sequence[Mapping[str, Any]] | None = None

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def is_leaving(self) -> bool:
        """Whether Stop or Pause was pressed."""
        return self.is_stopping() or self.is_pausing()

    def leave(self) -> None:
        """Raise RunStopped once Stop or Pause was pressed."""
        if self.is_leaving():
            raise RunStopped

    def leave_early(self) -> None:
        """Raise RunStopped once Stop or Pause was pressed. For what comes before training, when there is nothing to
        save; but with a checkpoint, Stop lets the run go on until it can save a model of it."""
        if self.is_leaving() and (self.is_pausing() or checkpoints.find_last(self.checkpoints) is None):
            raise RunStopped


@dataclass(frozen=True)
class Result:
    """How a run ended. model_id: None if it left no model: paused, or stopped before the first step. total_steps: 0 if
    it was left before that was known. error: why the run failed, although its last good weights were saved. peak_bytes:
    peak memory."""

    state: RunState
    step: int
    total_steps: int
    peak_bytes: int = 0
    model_id: str | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    error: ModelForgeError | None = None

    @property
    def stopped(self) -> bool:
        return self.state is RunState.stopped


@dataclass(frozen=True)
class Ready:
    """What a run has prepared before it loads the model. began: when, and what the machine had computed by then.
    planned: what it is predicted to need. checkpoint: the one it resumes from. kernels: compiled ones, if it computes
    with such."""

    began: Used
    recipe: Recipe
    start: Start
    method: Any
    tokenizer: Any
    examples: Examples
    planned: Plan
    checkpoint: Path | None
    kernels: Any = None

    @property
    def compute(self) -> Compute:
        """The plan's own: how a run computes is decided once."""
        assert self.planned.compute  # noqa: S101 - the base model has been downloaded by now
        return self.planned.compute

    @property
    def is_base_without_adapter(self) -> bool:
        """Whether the model with its adapter switched off writes, at any time, what it did before training."""
        return self.recipe.tuning.has_adapter and self.start.adapter is None and self.start.architecture is not ENCODER

    @property
    def has_unanswerable(self) -> bool:
        """Whether questions are trained on that their text does not answer."""
        return has_unanswerable(self.examples.train_rows)

    @property
    def predicted_bytes(self) -> int | None:
        return self.planned.memory.total if self.planned.memory else None


def train(job: Job) -> Result:
    """Prepare, load, tune, build the trainer, train, evaluate, save; then show answers, measure whether the model got
    better, and tell the planner.

    Raises ModelForgeError for what the user can fix.
    """
    try:
        return carry_out(job, prepare(job))
    except RunStopped:  # before training
        return Result(RunState.paused if job.is_pausing() else RunState.stopped, 0, 0)


def carry_out(job: Job, ready: Ready) -> Result:
    """All that comes after preparing. Raises RunStopped if the run is left before training."""
    recipe, start = job.recipe, ready.start
    with memory.PeakMeter(ready.compute.device) as meter:
        with BUILDING:
            job.leave_early()
            model = tune(start.load_model(ready.compute, recipe.seed), recipe, start.architecture, start.adapter)
            job.leave_early()
            trainer, callback = build_trainer(job, ready, model)
        kept = memory.kept_blocks(but_large=ready.compute.gradient_checkpointing)
        fused = fused_model(model, ready.compute.device)
        with kept, using(ready.kernels), fused as layers, track(job, trainer, callback):
            settle_weights(model, layers)
            if ready.checkpoint is None and not ready.is_base_without_adapter:
                show(job, ready, model, step=0, leave=job.leave_early)
            stored = stored_frozen_layers(trainer, job.emit, job.leave_early)
            with stored, shared_processor(trainer, ready.compute.device, ready.began):
                error = train_and_evaluate(trainer, callback, ready.checkpoint)
    state = decide_state(job, trainer.state, error)
    result = Result(state, trainer.state.global_step, trainer.state.max_steps, meter.peak_bytes, error=error)
    if state is RunState.paused:
        pause(trainer)
    elif result.step or error:
        step = result.step if result.stopped else load_best(trainer, error)
        result = replace(result, metrics=callback.metrics(step, has_parent=bool(recipe.parent)))
        result = replace(result, model_id=save_model(model, ready.tokenizer, describe(job, ready, result, step)))
        if not result.stopped:
            show(job, ready, model, step=step)
        if state is RunState.finished:
            result = replace(result, metrics=judge(job, ready, model, trainer, result))
    if result.step > callback.first_step:
        with warn_on_failure(job.emit, "The planner could not record what this run took"):
            speed = callback.tokens_per_second
            record_outcome(ready.planned, measured_bytes=result.peak_bytes, tokens_per_second=speed)
    return result


def prepare(job: Job) -> Ready:
    """Everything that comes before the model is loaded, reported in a `started` event. Raises RunStopped if the run is
    left meanwhile."""
    began, recipe = Used.read(), job.recipe
    job.leave_early()
    start = find_start(recipe, job.leave_early)
    method = load_method(recipe.method, start.architecture)
    tokenizer = start.load_tokenizer()
    encode_row: Callable[[Mapping[str, Any]], Encoding] = method.make_encoder(tokenizer, recipe, start.config)

    def encode(row: Mapping[str, Any]) -> Encoding:
        job.leave_early()
        return encode_row(row)

    examples = encode_examples(job.rows, encode, recipe, job.eval_rows)
    planned = predict(job, start.config, examples)
    checkpoint = checkpoints.find_last(job.checkpoints)
    ready = Ready(began, recipe, start, method, tokenizer, examples, planned, checkpoint)
    ready = replace(ready, kernels=choose_kernels(ready, job.emit))
    job.emit(
        "started",
        source=start.base.source,
        step=checkpoints.step_of(checkpoint) if checkpoint else 0,
        predicted_bytes=ready.predicted_bytes,
        dataset=dict(job.dataset),
        revisions=start.find_revisions(),
        versions=package_versions(),
        machine=describe_machine(ready),
        **asdict(ready.compute),
        **examples.counts,
    )
    for sentence in examples.warnings:
        job.emit("warning", message=sentence)
    return ready


def build_trainer(job: Job, ready: Ready, model: Any) -> tuple[Any, EventCallback]:
    """The method's trainer, which reports, stops and saves as the job says."""
    folder = make_folder(job.checkpoints)
    trainer = ready.method.build_trainer(
        model, ready.tokenizer, ready.examples, recipe=job.recipe, compute=ready.compute, folder=folder
    )
    callback = EventCallback(job.emit, job.is_leaving, ready.compute.device, ready.method.read_metrics)
    trainer.add_callback(callback)
    add_saving(trainer, callback.measured, job.recipe, job.emit, job.is_pausing)
    later = ready.checkpoint is None and ready.is_base_without_adapter
    sampling = SamplingCallback(
        lambda step: show(job, ready, model, step=step, leave=job.leave),
        callback.leave_out,
        job.recipe.evaluations,
        partial(show_base, job, ready, model) if later else None,
    )
    trainer.add_callback(sampling)
    return trainer, callback


def train_and_evaluate(trainer: Any, callback: EventCallback, checkpoint: Path | None) -> RunawayError | None:
    """Train from the start or from a checkpoint. Returns the error if loss or weights became NaN or infinite, even in
    the step in which Stop or Pause was pressed."""
    try:
        with contextlib.suppress(RunStopped):
            train_from(trainer, checkpoint)
            callback.finish(trainer)
        trainer.check_finite_weights()
    except RunawayError as error:
        return error
    return None


def decide_state(job: Job, progress: Any, error: RunawayError | None) -> RunState:
    """How the run ended. An error decides before Pause, and Pause before Stop; Stop in the last step changes nothing.
    progress: the trainer's state."""
    if error:
        return RunState.failed
    if job.is_pausing():
        return RunState.paused
    stopped = job.is_stopping() and progress.global_step < progress.max_steps
    return RunState.stopped if stopped else RunState.finished


def show(job: Job, ready: Ready, model: Any, *, step: int, leave: Callable[[], None] = lambda: None) -> bool:
    """Show what the model answers now. Returns whether it could: if this fails, the run does not. leave: called before
    each token; what it raises ends it."""

    @contextlib.contextmanager
    def turn() -> Iterator[None]:
        leave()
        yield

    shown = False
    with warn_on_failure(job.emit, "The model's answers could not be shown"):
        show_answers(
            model,
            ready.tokenizer,
            ready.examples.shown,
            recipe=job.recipe,
            architecture=ready.start.architecture,
            step=step,
            emit=job.emit,
            turn=turn,
        )
        shown = True
    return shown  # noqa: RET504 - False where it failed


def show_base(job: Job, ready: Ready, model: Any) -> None:
    """Show what the model answered before training, by switching its new adapter off. Pause waits for it: a run that is
    resumed shows no answers from before."""
    with model.disable_adapter():
        show(job, ready, model, step=0, leave=lambda: None if job.is_pausing() else job.leave())


def track(job: Job, trainer: Any, callback: EventCallback) -> contextlib.AbstractContextManager[None]:
    """Record the run's numbers with another program, if the recipe names one."""
    return tracked(trainer, callback.measured, recipe=job.recipe, run_id=job.run_id, folder=job.folder, emit=job.emit)


def judge(job: Job, ready: Ready, model: Any, trainer: Any, result: Result) -> dict[str, Any]:
    """The result's metrics, with the verdict on whether the model got better. If this fails, the run does not: the
    model is saved."""
    assert result.model_id  # noqa: S101 - a finished run has one
    metrics = result.metrics
    with warn_on_failure(job.emit, "Whether the model got better could not be measured"):
        measured = measure_run(job, ready, model, trainer)
        if measured:
            metrics = keep_verdict(result.model_id, metrics, measured)
    return metrics


@contextlib.contextmanager
def warn_on_failure(emit: Callable[..., None], what: str) -> Iterator[None]:
    """Turn any failure into a warning; the traceback goes to the log."""
    try:
        yield
    except RunStopped:
        raise
    except Exception as error:
        log.exception(what)
        emit("warning", message=f"{what}: {type(error).__name__}: {error}")


def predict(job: Job, config: Any, examples: Examples) -> Plan:
    """What the run needs, and how it computes; a rough estimate if the planner does not answer."""
    rows = Rows(**examples.sizes)
    planned = SERVICE.ask(job.recipe, rows, meanwhile=job.leave_early)
    return planned if planned and planned.compute else estimate_roughly(job.recipe, Machine.here(), rows, config)


def choose_kernels(ready: Ready, emit: Callable[..., None]) -> Any:
    """Compiled kernels for what is computed element by element on a processor, if there are any; for a run that is
    resumed those that it began with, or its numbers would not go on exactly."""
    facts = checkpoints.read_facts(ready.checkpoint) if ready.checkpoint else None
    is_without = facts is not None and not facts.get("kernels")
    kernels = None if ready.compute.device != "cpu" or is_without else load_kernels(ready.compute.dtype)
    if facts is not None and facts.get("kernels", "") != name_kernels(kernels):
        gone = "The kernels that this run began with are gone"
        emit(
            "warning", message=f"{gone}: its numbers may differ in the last digits from those of a run without a break."
        )
    return kernels


def describe_machine(ready: Ready) -> dict[str, str]:
    """What the numbers of a run depend on besides its recipe, its data and versions."""
    import torch

    here = hardware.detect()
    computing = {name: str(getattr(ready.compute, name)) for name in ("dtype", "weights", "attention", "optimizer")}
    computing |= {"threads": str(torch.get_num_threads()), "kernels": name_kernels(ready.kernels) or "torch"}
    return {"device": here.device.name, "system": here.system, **computing}


def describe(job: Job, ready: Ready, result: Result, step: int) -> dict[str, Any]:
    """The model's manifest: where it comes from, and what training it took. step: the one whose weights are saved."""
    recipe, start, counts = job.recipe, ready.start, ready.examples.counts
    return {
        "name": recipe.name,
        "base_model": start.base.id,
        "base_source": start.base.source,
        "revisions": start.find_revisions(),
        "custom_base_model": catalog.find(start.base.id) is None,
        "architecture": start.architecture.name,
        "parent": recipe.parent or None,
        "task": recipe.task.value,
        "method": recipe.method,
        "tuning": recipe.tuning.type,
        "created": utc_now(),
        "run_id": job.run_id,
        "dataset": {**job.dataset, **counts, "has_unanswerable": ready.has_unanswerable},
        "recipe": recipe.model_dump(mode="json"),
        "recipe_version": RECIPE_VERSION,
        "hardware": {"device": hardware.detect().device.name, "dtype": ready.compute.dtype},
        "versions": package_versions(),
        "metrics": result.metrics,
        "steps": step,
        "seconds": round(time.monotonic() - ready.began.now, 1),
        "memory": {"predicted_bytes": ready.predicted_bytes, "peak_bytes": result.peak_bytes},
    }
