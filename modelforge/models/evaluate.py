"""Whether a model got better: it, its base and the model that its run started from are measured on the same rows.

It owns which rows are used. How they are measured is in `measures.py`, the metrics are in `scores/metrics.py`; which of
them a task uses is declared in `tasks/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelforge.choices.combinations import check_method
from modelforge.data.checks import check
from modelforge.data.prepare import read_rows, refuse_errors
from modelforge.data.split import split
from modelforge.errors import DatasetError, NotFoundError, RecipeError
from modelforge.models.chat import Playground
from modelforge.models.folder import read_manifest
from modelforge.models.measures import MEASURES, Row, Sides
from modelforge.recipe import Recipe, read_stored
from modelforge.store import ModelRecord
from modelforge.tasks import TASKS
from modelforge.tasks.base import MappedRow

_OTHER_FILE = "Give a file to measure with (--data FILE)"
_HELD_OUT_BY = {"eval_dataset", "eval_split", "seed"}  # the settings that decide which rows


@dataclass(frozen=True)
class Evaluation:
    """What was measured. rows: how many. tuned, base, before: metric -> value, of the same metrics.

    before: the model that was trained further; empty where training started from the base model, or it was deleted.
    """

    rows: int
    tuned: Mapping[str, float]
    base: Mapping[str, float]
    before: Mapping[str, float] = field(default_factory=dict)

    @property
    def sides(self) -> dict[str, dict[str, float]]:
        """{"tuned", "base"} -> metric -> value, and "before" where it was measured."""
        before = {"before": dict(self.before)} if self.before else {}
        return {"tuned": dict(self.tuned), "base": dict(self.base), **before}


def evaluate(
    record: ModelRecord,
    playground: Playground,
    *,
    parent: ModelRecord | None = None,
    data: Path | None = None,
    limit: int | None = None,
    watch: Callable[[float], None] | None = None,
) -> Evaluation:
    """Measure a finished model, its base, and the parent where it has one. See `library.Model.evaluate`."""
    if limit is not None and limit < 1:
        raise RecipeError(f"{limit} rows are too few.", where="limit", fix="It must be at least 1.")
    manifest = read_manifest(record.id)
    stored = read_stored(manifest["recipe"], manifest.get("recipe_version", 1))
    recipe = stored.recipe
    if not data and (lost := sorted(_HELD_OUT_BY & stored.changed.keys())):
        what = f"Which rows were held out is not known: another version recorded a {lost[0]} that is not valid here."
        raise DatasetError(what, where=record.name, fix=f"{_OTHER_FILE}.")
    found = read_file(data, recipe) if data else read_held_out(manifest, recipe)
    sides = Sides(playground, record, parent, watch)
    measure = MEASURES[record.method, record.architecture]
    count, measured = measure(sides, choose_evenly(found, limit), TASKS[recipe.task].metrics)
    if not count:
        raise DatasetError(
            f"Nothing can be measured: in every row the answer is beyond {recipe.max_length} tokens.",
            where=str(data or record.name),
            fix=f"{_OTHER_FILE} with shorter prompts.",
        )
    return Evaluation(count, **measured)


def read_held_out(manifest: Mapping[str, Any], recipe: Recipe) -> list[MappedRow]:
    """The rows that were held out when a model was trained, chosen as in training (`training.examples`).

    Raises DatasetError where they were deleted, or none were held out.
    """
    dataset = manifest["dataset"]
    try:
        if recipe.eval_dataset:
            return read_rows(recipe.eval_dataset)
        rows = read_rows(dataset["id"])
    except NotFoundError as error:
        what = "The dataset of this model was deleted."
        raise DatasetError(what, where=dataset["name"], fix=f"{_OTHER_FILE}, or add its file again.") from error
    _, held_out = split(rows, recipe.eval_split, recipe.seed)
    if not held_out:
        what = "No examples were held out when this model was trained."
        raise DatasetError(what, where=dataset["name"], fix=f"{_OTHER_FILE}.")
    return [rows[index] for index in held_out]


def read_file(path: Path, recipe: Recipe) -> Sequence[MappedRow]:
    """The rows of a file, mapped for the recipe's task as a run would its eval_dataset: with the recipe's columns, if
    the file has them, and the repairs that it allows. Raises DatasetError naming row and line of the first error."""
    try:
        report = check(path, recipe.task, recipe.columns or None, repairs=recipe.repairs)
    except DatasetError:
        if not recipe.columns:
            raise
        report = check(path, recipe.task, repairs=recipe.repairs)
    refuse_errors(report)
    check_method(recipe.task, recipe.method, report.shape.name)
    return report.mapped_rows


def choose_evenly(rows: Sequence[Row], limit: int | None) -> list[Row]:
    """At most `limit` rows, evenly spaced, in order."""
    count = len(rows) if limit is None else min(limit, len(rows))
    return [rows[index * len(rows) // count] for index in range(count)]
