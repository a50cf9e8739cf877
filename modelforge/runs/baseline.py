"""Tries a recipe's base model before a first run: which rows, what is loaded, and that no run is in its way.

What is measured and recommended is in `models/baseline.py`.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from modelforge.data.lengths import mean_row
from modelforge.data.prepare import read_rows
from modelforge.data.split import count_held_out, divide, keep_share
from modelforge.errors import DatasetError, RecipeError, RunStateError
from modelforge.planner.duration import describe_range, predict_baseline
from modelforge.planner.estimate import Plan, Rows
from modelforge.planner.service import SERVICE
from modelforge.recipe import Recipe
from modelforge.runs.admission import Admission, Admitted

if TYPE_CHECKING:
    from modelforge.models.baseline import Base, Baseline

MOST_ROWS = 40  # as many as a run's verdict rests on where answers are written
_PREDICTION_SECONDS = 45.0  # at most, to time some steps
_BUSY_SECONDS = 2.0  # how often it looks whether a run has started

_one_at_a_time = threading.Lock()


def try_base(
    admission: Admission,
    recipe: Recipe,
    *,
    free_memory: Callable[[], None],
    refuse_busy: Callable[[], None],
    limit: int | None = None,
    watch: Callable[[float], None] | None = None,
) -> Baseline:
    """The base model on the rows that the recipe would hold out, at most `limit` of them, evenly spaced.

    free_memory: called before the model is loaded. refuse_busy: raises RunStateError while a run is in progress; called
    often. watch: called with the share of the work that is done; what it raises cancels. Raises ModelForgeError for
    whatever a start would refuse, and where nothing is held out.
    """
    if limit is not None and limit < 1:
        raise RecipeError(f"{limit} rows are too few.", where="limit", fix="It must be at least 1.")
    refuse_busy()
    admitted = admission.admit(recipe)
    if not _one_at_a_time.acquire(blocking=False):
        raise RunStateError("Another base model is being tried.", fix="Try again in a minute.")
    try:
        free_memory()
        return _measure(admitted, limit, _watch_runs(watch, refuse_busy))
    finally:
        _one_at_a_time.release()
        gc.collect()


def predict_seconds(admission: Admission, recipe: Recipe, limit: int | None = None) -> str:
    """How long that takes; see `Runs.predict_base`."""
    admitted = admission.admit(recipe)
    dataset = admitted.dataset
    made = SERVICE.ask(
        admitted.recipe,
        Rows(dataset.rows, dataset.longest or None, mean_row(dataset.bytes, dataset.rows)),
        seconds=_PREDICTION_SECONDS,
        calibrate=True,
    )
    return describe_time(made, dataset.rows, dataset.longest, limit) if made else ""


def describe_time(made: Plan, rows: int, longest: int, limit: int | None = None) -> str:
    """The same for a plan. rows, longest: of the dataset, and tokens."""
    recipe = made.recipe
    held_out = count_held_out(rows, recipe.eval_split, recipe.min_eval_rows) if not recipe.eval_dataset else MOST_ROWS
    tried = min(held_out, limit or MOST_ROWS)
    return describe_range(*predict_baseline(made, tried, longest or None))


def _measure(admitted: Admitted, limit: int | None, watch: Callable[[float], None]) -> Baseline:
    from modelforge.models.baseline import measure_baseline  # loads torch: not before the first one
    from modelforge.models.evaluate import choose_evenly
    from modelforge.tasks.extractive_question_answering import has_unanswerable

    recipe, rows = admitted.recipe, read_rows(admitted.dataset.id)
    if admitted.evaluation:
        training, numbered = keep_share(range(len(rows)), recipe), list(enumerate(read_rows(admitted.evaluation.id), 1))
    else:
        training, held_out = divide(rows, recipe)
        numbered = [(index + 1, rows[index]) for index in held_out]
    if not numbered:
        fix = "Set eval_split above 0, and give at least two different examples."
        raise DatasetError("No examples are held out to try the base model on.", where=admitted.dataset.name, fix=fix)
    return measure_baseline(
        load_base(recipe, lambda: watch(0.0)),
        recipe,
        rows,
        training,
        choose_evenly(numbered, limit or MOST_ROWS),
        has_unanswerable=has_unanswerable([rows[index] for index in training]),
        watch=watch,
    )


def load_base(recipe: Recipe, meanwhile: Callable[[], None]) -> Base:
    """What a run would start from: the base model, or the model to train further. Raises BaseModelError."""
    from modelforge import loading
    from modelforge.models.baseline import Base
    from modelforge.models.loaded import load_weights
    from modelforge.training.start import find_start

    start = find_start(recipe, meanwhile)
    tokenizer = start.load_tokenizer()
    is_quantised = recipe.tuning.type == "qlora" and start.adapter is not None  # as in the Playground
    model = load_weights(start.weights, start.architecture, quantised=is_quantised, seed=recipe.seed)
    if start.adapter:
        model = loading.load_adapter(model, start.adapter, recipe.parent)
    model = model.eval()

    def open() -> tuple[Any, Callable[[], AbstractContextManager[Any]]]:
        return model, nullcontext

    return Base(tokenizer, model.config, start.architecture.name, open)


def _watch_runs(watch: Callable[[float], None] | None, refuse_busy: Callable[[], None]) -> Callable[[float], None]:
    looked = time.monotonic()

    def look(share: float) -> None:
        nonlocal looked
        if time.monotonic() - looked > _BUSY_SECONDS:
            refuse_busy()
            looked = time.monotonic()
        if watch:
            watch(share)

    return look
