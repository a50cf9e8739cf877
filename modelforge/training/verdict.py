"""The verdict at the end of a run: what it started from and what it became, measured on the same held-out rows.

By then the model is saved, so nothing here can lose it; Stop leaves the run without a verdict.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from modelforge.models.adapter_switch import AdapterSwitch
from modelforge.models.evaluate import Evaluation, choose_evenly, conclude, measure_all
from modelforge.models.folder import read_manifest, write_manifest
from modelforge.models.outcomes import BASE, BEFORE, TUNED, save_outcomes
from modelforge.models.sides import Open, Sides
from modelforge.training.callback import RunStopped

MOST_ROWS = {"dpo": 200, "encoder": 200}
"""Method or architecture -> the held-out rows that a run's verdict rests on, evenly spaced."""
MOST_ROWS_WRITTEN = 40  # where an answer is written for each: a minute for short ones of the starter on two cores
EVENT_SECONDS = 1.0


def measure_run(job: Any, ready: Any, model: Any, trainer: Any) -> Evaluation | None:
    """Measure both sides of a finished run. Emits `measuring` events. model: as it was saved.

    None where nothing was held out; or, with a warning, Stop or Pause was pressed.
    """
    examples, architecture = ready.examples, ready.start.architecture.name
    if not examples.eval_rows:
        return None
    most = MOST_ROWS.get(job.recipe.method) or MOST_ROWS.get(architecture, MOST_ROWS_WRITTEN)
    rows = choose_evenly(list(zip(examples.eval_numbers, examples.eval_rows, strict=True)), most)
    was_training = model.training
    model.eval()
    try:
        with open_run(ready, model, trainer, make_watch(job)) as sides:
            measured, forgetting = measure_all(sides, architecture, rows)
    except RunStopped:
        job.emit("warning", message="Stopped before the verdict was measured. Evaluate the model on the Models tab.")
        return None
    finally:
        model.train(was_training)
    outcomes = [replace(each, known=each.row in examples.known) for each in measured.outcomes]
    return conclude(replace(measured, outcomes=outcomes), forgetting)


def keep_verdict(model_id: str, metrics: Mapping[str, Any], found: Evaluation) -> dict[str, Any]:
    """Write what was measured into the saved model's folder. Returns the run's metrics with the verdict: both sides as
    it measured them, so that they can be compared."""
    measured = found.as_metrics()
    joined = {**metrics, **measured}
    for side in (TUNED, BASE, BEFORE):  # what the trainer measured besides, as the loss of preferences
        if side in metrics or side in measured:
            joined[side] = {**metrics.get(side, {}), **measured.get(side, {})}
    save_outcomes(model_id, found.measured)
    write_manifest(model_id, {**read_manifest(model_id), "metrics": joined})
    return joined


@contextlib.contextmanager
def open_run(ready: Any, model: Any, trainer: Any, watch: Callable[[float], None]) -> Iterator[Sides]:
    """The sides of a run: "tuned", and what it started from, "base" or, for a model that was trained further, "before".

    An adapter is switched off, or exchanged for the one that the run started from. After full tuning the weights that
    it started from are loaded again, in the place of optimizer and gradients.
    """
    start, recipe, switch = ready.start, ready.recipe, AdapterSwitch()

    @contextlib.contextmanager
    def choose(*, base: bool) -> Iterator[None]:
        switch.choose(model, base=base)
        yield

    def keep() -> tuple[Any, Callable[[], AbstractContextManager[Any]]]:
        return model, partial(choose, base=False)

    def switch_off() -> tuple[Any, Callable[[], AbstractContextManager[Any]]]:
        return model, partial(choose, base=True)

    def exchange() -> tuple[Any, Callable[[], AbstractContextManager[Any]]]:
        model.load_adapter(str(start.adapter), BEFORE)
        return model, partial(use_adapter, model, BEFORE)

    def load_again() -> tuple[Any, Callable[[], AbstractContextManager[Any]]]:
        trainer.optimizer = trainer.lr_scheduler = None
        trainer.accelerator.free_memory()
        model.zero_grad(set_to_none=True)
        return start.load_model(ready.compute, recipe.seed).eval(), nullcontext

    before: Open = load_again if not recipe.tuning.has_adapter else exchange if start.adapter else switch_off
    opens = {TUNED: keep, (BEFORE if recipe.parent else BASE): before}
    has_unanswerable = ready.has_unanswerable
    try:
        yield Sides(ready.tokenizer, recipe, model.config, opens, has_unanswerable=has_unanswerable, watch=watch)
    finally:
        switch.choose(model, base=False)
        if BEFORE in getattr(model, "peft_config", {}):
            model.delete_adapter(BEFORE)


@contextlib.contextmanager
def use_adapter(model: Any, name: str) -> Iterator[None]:
    used = model.active_adapter
    model.set_adapter(name)
    try:
        yield
    finally:
        model.set_adapter(used)


def make_watch(job: Any) -> Callable[[float], None]:
    """Emits `measuring` events, at most one a second, and raises RunStopped once Stop or Pause was pressed."""
    began = told = time.monotonic()

    def watch(share: float) -> None:
        nonlocal told
        if job.is_leaving():
            raise RunStopped
        now = time.monotonic()
        if now - told >= EVENT_SECONDS:
            told = now
            left = round((now - began) * (1 - share) / share) if share else None
            job.emit("measuring", share=round(share, 3), seconds_left=left)

    return watch
