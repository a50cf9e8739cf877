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

from modelforge import catalog, hardware
from modelforge.errors import ModelForgeError, RunawayError
from modelforge.models.folder import package_versions, save_model
from modelforge.recipe import Recipe
from modelforge.store import RunState, utc_now
from modelforge.tasks.extractive_question_answering import has_unanswerable
from modelforge.training import checkpoints, device, memory
from modelforge.training.callback import EventCallback, RunStopped
from modelforge.training.examples import encode_examples
from modelforge.training.fused import fused_lora, fused_norms
from modelforge.training.methods import METHODS
from modelforge.training.samples import show_answers
from modelforge.training.saving import add_saving, go_on, pause, take_best
from modelforge.training.start import find_start
from modelforge.training.tune import tune


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

    def is_leaving(self) -> bool:
        """Whether to get out of what takes long."""
        return self.is_stopping() or self.is_pausing()


@dataclass(frozen=True)
class Result:
    """How a run ended. model_id is None where it left no model: stopped before the first step, or paused. error: what
    it ended with, although its last good weights were saved."""

    state: RunState
    model_id: str | None
    step: int
    total_steps: int
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    error: ModelForgeError | None = None

    @property
    def stopped(self) -> bool:
        return self.state is RunState.stopped


def train(job: Job) -> Result:
    """Load, tune, build the trainer, train, evaluate, save. Raises ModelForgeError for what the user can mend."""
    recipe, emit, started = job.recipe, job.emit, time.monotonic()

    start = find_start(recipe)
    method = METHODS[recipe.method].load(start.architecture)
    tokenizer = start.load_tokenizer()
    examples = encode_examples(job.rows, method.make_encoder(tokenizer, recipe, start.config), recipe, job.eval_rows)
    probe = hardware.probe()
    compute = device.decide(recipe, probe, start.config, hardware.detect().free_bytes(probe.kind))
    checkpoint = checkpoints.find_last(job.folder / "checkpoints")
    step = checkpoints.step_of(checkpoint) if checkpoint else 0
    emit("started", source=start.base.source, step=step, **asdict(compute), **examples.counts)
    for sentence in examples.warnings:
        emit("warning", message=sentence)

    model = tune(start.load_model(compute, recipe.seed), recipe, start.architecture, start.adapter)
    trainer = method.build_trainer(
        model, tokenizer, examples, recipe=recipe, compute=compute, folder=job.folder / "checkpoints"
    )
    callback = EventCallback(emit, job.is_leaving, compute.device, method.read_metrics)
    trainer.add_callback(callback)
    add_saving(trainer, callback.measured, recipe, emit, job.is_pausing)
    ask = partial(
        show_answers, model, tokenizer, examples.shown, recipe=recipe, architecture=start.architecture, emit=emit
    )

    error = None
    with memory.kept_blocks(), fused_lora(model), fused_norms(model):
        try:
            if checkpoint is None:
                ask(step=0)
            go_on(trainer, checkpoint)
            callback.finish(trainer)
        except RunStopped:
            pass
        except RunawayError as runaway:
            error = runaway
    step, steps = trainer.state.global_step, trainer.state.max_steps
    if job.is_pausing() and not error:
        pause(trainer)
        return Result(RunState.paused, None, step, steps)
    if step == 0:
        return Result(RunState.stopped, None, step, steps)
    stopped = job.is_stopping() and step < steps
    if not stopped:
        step = take_best(trainer, error)

    ask(step=step)
    manifest = {
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
        "dataset": {**job.dataset, **examples.counts, "has_unanswerable": has_unanswerable(examples.train_rows)},
        "recipe": recipe.model_dump(mode="json"),
        "metrics": callback.metrics(step),
        "steps": step,
        "seconds": round(time.monotonic() - started, 1),
        "hardware": {"device": hardware.detect().device.name, "dtype": compute.dtype},
        "versions": package_versions(),
    }
    model_id = save_model(model, tokenizer, manifest)
    state = RunState.failed if error else RunState.stopped if stopped else RunState.finished
    return Result(state, model_id, trainer.state.global_step, steps, callback.metrics(step), error)
