"""A run from beginning to end, read from top to bottom: a recipe and a dataset in, a finished model's folder out.

It never blocks on, or knows of, a viewer; what it has to say goes out through `emit`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from modelforge import catalog, hardware, planner
from modelforge.building import BUILDING
from modelforge.compute import memory
from modelforge.compute.compute import Compute
from modelforge.compute.fused import fused_lora, fused_norms
from modelforge.compute.tune import tune
from modelforge.errors import ModelForgeError, RunawayError
from modelforge.models.folder import package_versions, save_model
from modelforge.planner import Plan
from modelforge.planner.estimate import Machine, Rows, estimate_roughly
from modelforge.planner.service import SERVICE
from modelforge.recipe import RECIPE_VERSION, Recipe
from modelforge.store import RunState, utc_now
from modelforge.tasks.extractive_question_answering import has_unanswerable
from modelforge.training import checkpoints
from modelforge.training.callback import EventCallback, RunStopped
from modelforge.training.examples import Examples, encode_examples
from modelforge.training.methods import load_method
from modelforge.training.samples import show_answers
from modelforge.training.saving import add_saving, go_on, pause, take_best
from modelforge.training.start import Start, find_start


@dataclass(frozen=True)
class Job:
    """One run as the worker hands it over. `dataset` says for the manifest where the mapped `rows` come from.
    eval_rows: rows of another file to measure with; None holds out a share of `rows`. A checkpoint in `folder` is gone
    on from."""

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
        """Whether to get out of what takes long."""
        return self.is_stopping() or self.is_pausing()


@dataclass(frozen=True)
class Result:
    """How a run ended. model_id is None where it left no model: stopped before the first step, or paused. error: what
    it ended with, although its last good weights were saved. peak_bytes: of memory, at the most."""

    state: RunState
    step: int
    total_steps: int
    peak_bytes: int = 0
    model_id: str | None = None
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    error: ModelForgeError | None = None

    @property
    def stopped(self) -> bool:
        return self.state is RunState.stopped


@dataclass(frozen=True)
class Ready:
    """What a run has found out and made before it loads a model. planned: what it was predicted to need. checkpoint:
    the one that it goes on from."""

    start: Start
    method: Any
    tokenizer: Any
    examples: Examples
    planned: Plan
    checkpoint: Path | None

    @property
    def compute(self) -> Compute:
        """As it was planned: a run decides once."""
        assert self.planned.compute  # noqa: S101 - the base model is here by now
        return self.planned.compute

    @property
    def predicted_bytes(self) -> int | None:
        return self.planned.memory.total if self.planned.memory else None


def train(job: Job) -> Result:
    """Load, tune, build the trainer, train, evaluate, save. Raises ModelForgeError for what the user can mend."""
    began, ready = time.monotonic(), prepare(job)
    recipe, start, emit = job.recipe, ready.start, job.emit
    with memory.PeakMeter(ready.compute.device) as meter:
        with BUILDING:
            model = tune(start.load_model(ready.compute, recipe.seed), recipe, start.architecture, start.adapter)
            trainer = ready.method.build_trainer(
                model, ready.tokenizer, ready.examples, recipe=recipe, compute=ready.compute, folder=job.checkpoints
            )
        callback = EventCallback(emit, job.is_leaving, ready.compute.device, ready.method.read_metrics)
        trainer.add_callback(callback)
        add_saving(trainer, callback.measured, recipe, emit, job.is_pausing)
        ask = partial(
            show_answers,
            model,
            ready.tokenizer,
            ready.examples.shown,
            recipe=recipe,
            architecture=start.architecture,
            emit=emit,
        )
        error = None
        with memory.kept_blocks(), fused_lora(model), fused_norms(model):
            try:
                if ready.checkpoint is None:
                    ask(step=0)
                go_on(trainer, ready.checkpoint)
                callback.finish(trainer)
            except RunStopped:
                pass
            except RunawayError as runaway:
                error = runaway
    step, steps = trainer.state.global_step, trainer.state.max_steps
    numbers = {"step": step, "total_steps": steps, "peak_bytes": meter.peak_bytes}
    planner.record_outcome(ready.planned, measured_bytes=meter.peak_bytes, tokens_per_second=callback.tokens_per_second)
    if job.is_pausing() and not error:
        pause(trainer)
        return Result(RunState.paused, **numbers)
    if step == 0 and not error:
        return Result(RunState.stopped, **numbers)

    stopped = job.is_stopping() and step < steps
    if not stopped:
        step = take_best(trainer, error)
        ask(step=step)
    manifest = {
        **describe(job, ready),
        "metrics": callback.metrics(step),
        "steps": step,
        "seconds": round(time.monotonic() - began, 1),
        "memory": {"predicted_bytes": ready.predicted_bytes, "peak_bytes": meter.peak_bytes},
    }
    model_id = save_model(model, ready.tokenizer, manifest)
    state = RunState.failed if error else RunState.stopped if stopped else RunState.finished
    return Result(state, model_id=model_id, metrics=callback.metrics(step), error=error, **numbers)


def prepare(job: Job) -> Ready:
    """All that is done before there is a model in memory, and told."""
    recipe = job.recipe
    start = find_start(recipe)
    method = load_method(recipe.method, start.architecture)
    tokenizer = start.load_tokenizer()
    examples = encode_examples(job.rows, method.make_encoder(tokenizer, recipe, start.config), recipe, job.eval_rows)
    planned = predict(recipe, start.config, examples)
    checkpoint = checkpoints.find_last(job.checkpoints)
    ready = Ready(start, method, tokenizer, examples, planned, checkpoint)
    job.emit(
        "started",
        source=start.base.source,
        step=checkpoints.step_of(checkpoint) if checkpoint else 0,
        predicted_bytes=ready.predicted_bytes,
        **asdict(ready.compute),
        **examples.counts,
    )
    for sentence in examples.warnings:
        job.emit("warning", message=sentence)
    return ready


def predict(recipe: Recipe, config: Any, examples: Examples) -> Plan:
    """What the run needs, and how it computes; roughly where the planner does not answer."""
    rows = Rows(**examples.sizes)
    planned = SERVICE.ask(recipe, rows)
    return planned if planned and planned.compute else estimate_roughly(recipe, Machine.here(), rows, config)


def describe(job: Job, ready: Ready) -> dict[str, Any]:
    """What the manifest says of where a model comes from."""
    recipe, start, counts = job.recipe, ready.start, ready.examples.counts
    return {
        "name": recipe.name,
        "base_model": start.base.id,
        "base_source": start.base.source,
        "custom_base_model": catalog.is_custom(start.base.id),
        "architecture": start.architecture.name,
        "parent": recipe.parent or None,
        "task": recipe.task.value,
        "method": recipe.method,
        "tuning": recipe.tuning.type,
        "created": utc_now(),
        "run_id": job.run_id,
        "dataset": {**job.dataset, **counts, "has_unanswerable": has_unanswerable(ready.examples.train_rows)},
        "recipe": recipe.model_dump(mode="json"),
        "recipe_version": RECIPE_VERSION,
        "hardware": {"device": hardware.detect().device.name, "dtype": ready.compute.dtype},
        "versions": package_versions(),
    }
