"""Whether a model got better: it, its base and the model that its run started from are measured on the same rows.

It owns which rows are used. How they are measured is in `measures.py`, what follows from that in `outcomes.py`; which
metrics there are is declared in `tasks/` and `choices/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from modelforge.architecture import DECODER
from modelforge.choices.combinations import check_method, metrics_of
from modelforge.data.checks import check
from modelforge.data.prepare import read_rows, refuse_errors
from modelforge.data.split import IDENTICAL, divide, find_leaks, keep_share
from modelforge.errors import DatasetError, NotFoundError, RecipeError
from modelforge.models.chat import Playground
from modelforge.models.folder import read_manifest
from modelforge.models.forgetting import Known, describe_forgetting, measure_forgetting, round_known
from modelforge.models.measures import MEASURES, Numbered
from modelforge.models.outcomes import AGAINST, BASE, BEFORE, TUNED, Measured, read_outcomes, save_outcomes
from modelforge.models.sides import Sides, open_sides
from modelforge.recipe import Recipe, read_stored
from modelforge.scores.intervals import Interval
from modelforge.scores.titles import SHOWN
from modelforge.scores.verdict import Verdict
from modelforge.store import ModelRecord
from modelforge.tasks.base import MappedRow
from modelforge.tasks.text_generation import PLAIN_TEXT

_OTHER_FILE = "Give a file to measure with (--data FILE)"
_HELD_OUT_BY = {"eval_dataset", "eval_split", "min_eval_rows", "seed"}  # the settings that decide which rows
_ROWS_SHARE = 0.85  # of the time, about; the rest goes to general text
Row = TypeVar("Row")


@dataclass(frozen=True)
class Evaluation:
    """What was measured, and what follows. rows: how many. differences: metric -> tuned minus `measured.against`.

    forgetting: "tuned" and what it is compared with -> what each knows of general text; empty where not measured.
    """

    measured: Measured
    sides: Mapping[str, Mapping[str, float]]
    differences: Mapping[str, Interval]
    verdict: Verdict
    forgetting: Mapping[str, Known] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return len(self.measured.outcomes)

    @property
    def tuned(self) -> Mapping[str, float]:
        return self.sides.get(TUNED, {})

    @property
    def base(self) -> Mapping[str, float]:
        return self.sides.get(BASE, {})

    @property
    def before(self) -> Mapping[str, float]:
        """Of the model that was trained further; empty where training started from the base model."""
        return self.sides.get(BEFORE, {})

    @property
    def forgot(self) -> str:
        """A warning where the model lost much of what it knew; else ""."""
        return describe_forgetting(self.forgetting)

    def as_metrics(self) -> dict[str, Any]:
        """As the metrics of runs and models have it: side -> metric -> value, and the "verdict"."""
        against = self.measured.against
        sides = {name: dict(values) for name, values in self.sides.items() if name != AGAINST}
        if against in self.sides:
            sides[BEFORE] = dict(self.sides[against])
        differences = {name: each.as_json() for name, each in self.differences.items()}
        more = {"against": against, "notes": list(self.measured.notes), "differences": differences}
        more |= {"forgetting": dict(self.forgetting), "forgot": self.forgot}
        return {**sides, "verdict": {**asdict(self.verdict), **more}}


def evaluate(
    record: ModelRecord,
    playground: Playground,
    *,
    parent: ModelRecord | None = None,
    against: ModelRecord | None = None,
    data: Path | None = None,
    limit: int | None = None,
    watch: Callable[[float], None] | None = None,
) -> Evaluation:
    """Measure a finished model, its base, and the parent where it has one, or another model. See
    `library.Model.evaluate`."""
    if limit is not None and limit < 1:
        raise RecipeError(f"{limit} rows are too few.", where="limit", fix="It must be at least 1.")
    manifest = read_manifest(record.id)
    stored = read_stored(manifest["recipe"], manifest.get("recipe_version", 1))
    recipe = stored.recipe
    if not data and (lost := sorted(_HELD_OUT_BY & stored.changed.keys())):
        what = f"Which rows were held out is not known: another version recorded a {lost[0]} that is not valid here."
        raise DatasetError(what, where=record.name, fix=f"{_OTHER_FILE}.")
    if against:
        _check_comparable(record, against)
    notes: list[str] = []
    rows = list(enumerate(read_file(data, recipe), start=1)) if data else read_held_out(manifest, recipe)
    is_other = data or recipe.eval_dataset  # what was held out of the dataset itself was not trained on
    known = find_known(rows, manifest, recipe, notes) if is_other else set[int]()
    chosen = choose_evenly(rows, limit)
    watches = divide_watch(watch, 2 if against else 1)
    sides = open_sides(playground, record, parent, watches[0])
    measured, forgetting = measure_all(sides, record.architecture, chosen)
    if not measured.outcomes:
        raise DatasetError(
            _explain_nothing(measured.notes, recipe),
            where=str(data or record.name),
            fix=f"{_OTHER_FILE} with shorter prompts.",
        )
    if against:
        other = measure(open_sides(playground, against, None, watches[1]), against.architecture, chosen)
        measured = join(measured, other, is_same_base=record.base_model == against.base_model)
    outcomes = [replace(each, known=each.row in known) for each in measured.outcomes]
    measured = replace(measured, outcomes=outcomes, notes=[*notes, *measured.notes])
    if not data and not against and read_outcomes(record.id) is None:
        save_outcomes(record.id, measured)
    return conclude(measured, forgetting)


def measure_all(sides: Sides, architecture: str, rows: Sequence[Numbered]) -> tuple[Measured, Mapping[str, Known]]:
    """The outcomes of the rows, and what the model forgot besides, if it is a decoder."""
    sides.span = (0.0, _ROWS_SHARE if architecture == DECODER.name else 1.0)
    measured = measure(sides, architecture, rows)
    sides.span = (_ROWS_SHARE, 1.0)
    is_measured = architecture == DECODER.name and measured.outcomes
    forgetting = measure_forgetting(sides) if is_measured else {}
    sides.finish()
    return replace(measured, notes=list(sides.notes)), round_known(forgetting)


def measure(sides: Sides, architecture: str, rows: Sequence[Numbered]) -> Measured:
    """The outcomes of rows by the measure of the recipe's method; notes say what could not be measured."""
    metrics = name_metrics(sides.recipe, rows)
    named = metrics[0]
    outcomes = MEASURES[sides.recipe.method, architecture](sides, rows, metrics)
    against = BEFORE if any(BEFORE in each.scores for each in outcomes) else BASE
    found = Measured(outcomes, against, metrics, sides.notes)
    told = found.sides.get(TUNED, {})
    if told and named not in told:
        rests = next(name for name in metrics if name in told)
        note = f"The verdict was to rest on {SHOWN[named].in_sentence}, which could not be measured; "
        sides.notes.append(f"{note}it rests on {SHOWN[rests].in_sentence}.")
    return found


def name_metrics(recipe: Recipe, rows: Sequence[Numbered]) -> list[str]:
    """What such rows are measured with; first the one that the verdict is to rest on."""
    is_text = all("text" in row for _, row in rows)
    wanted = metrics_of(recipe.task, recipe.method, PLAIN_TEXT.name if is_text else "")
    named = wanted[0] if recipe.verdict_metric == "auto" else recipe.verdict_metric
    return [named, *(name for name in wanted if name != named)]


def conclude(measured: Measured, forgetting: Mapping[str, Known] | None = None) -> Evaluation:
    """What follows from a measurement."""
    return Evaluation(measured, measured.sides, measured.compare(), measured.judge(), forgetting or {})


def join(measured: Measured, other: Measured, *, is_same_base: bool) -> Measured:
    """The measurement with another model's as the side that is compared with, on the rows that both could measure."""
    found = {each.id: each for each in other.outcomes}
    outcomes = []
    for each in measured.outcomes:
        if each.id in found and (theirs := found[each.id].scores.get(TUNED)) is not None:
            scores = {name: score for name, score in theirs.items() if is_same_base or name != "loss"}
            answers = {AGAINST: found[each.id].answers[TUNED]} if TUNED in found[each.id].answers else {}
            outcomes.append(replace(each, scores={**each.scores, AGAINST: scores}, answers={**each.answers, **answers}))
    notes = list(measured.notes)
    if not is_same_base:
        notes.append(
            "The losses are not compared: these models have different bases, and so may count tokens differently."
        )
    return replace(measured, outcomes=outcomes, against=AGAINST, notes=notes)


def read_held_out(manifest: Mapping[str, Any], recipe: Recipe) -> list[Numbered]:
    """The rows that were held out when a model was trained, chosen as in training (`training.examples`).

    Raises DatasetError where they were deleted, or none were held out.
    """
    dataset = manifest["dataset"]
    try:
        if recipe.eval_dataset:
            return list(enumerate(read_rows(recipe.eval_dataset), start=1))
        rows = read_rows(dataset["id"])
    except NotFoundError as error:
        what = "The dataset of this model was deleted."
        raise DatasetError(what, where=dataset["name"], fix=f"{_OTHER_FILE}, or add its file again.") from error
    _, held_out = divide(rows, recipe)
    if not held_out:
        what = "No examples were held out when this model was trained."
        raise DatasetError(what, where=dataset["name"], fix=f"{_OTHER_FILE}.")
    return [(index + 1, rows[index]) for index in held_out]


def find_known(rows: Sequence[Numbered], manifest: Mapping[str, Any], recipe: Recipe, notes: list[str]) -> set[int]:
    """The numbers of the rows that are identical to rows that were trained on; a note says how many."""
    try:
        trained = read_rows(manifest["dataset"]["id"])
    except NotFoundError:
        notes.append("The dataset of this model was deleted, so whether these rows were trained on is not known.")
        return set()
    indices = keep_share(range(len(trained)), recipe) if recipe.eval_dataset else divide(trained, recipe)[0]
    leaks = find_leaks([trained[index] for index in indices], [row for _, row in rows])
    known = {rows[leak.evaluation_row - 1][0] for leak in leaks if leak.kind in IDENTICAL}
    if known and len(known) < len(rows):
        count = "1 row was" if len(known) == 1 else f"{len(known):,} of {len(rows):,} rows were"
        notes.append(f"{count} also trained on, so the scores look better than they are. The verdict leaves them out.")
    return known


def read_file(path: Path, recipe: Recipe) -> Sequence[MappedRow]:
    """The rows of a file, mapped for the recipe's task as a run would its eval_dataset: with the recipe's columns, if
    the file has them, and the repairs that it allows. Raises DatasetError naming row and line of the first error."""
    try:
        report = check(path, recipe.task, recipe.columns or None, repairs=recipe.repairs, fewest=1)
    except DatasetError:
        if not recipe.columns:
            raise
        report = check(path, recipe.task, repairs=recipe.repairs, fewest=1)
    refuse_errors(report)
    check_method(recipe.task, recipe.method, report.shape.name)
    return report.mapped_rows


def choose_evenly(rows: Sequence[Row], limit: int | None) -> list[Row]:
    """At most `limit` rows, evenly spaced, in order."""
    count = len(rows) if limit is None else min(limit, len(rows))
    return [rows[index * len(rows) // count] for index in range(count)]


def divide_watch(watch: Callable[[float], None] | None, parts: int) -> list[Callable[[float], None] | None]:
    """A watch for each of several measurements, which together go from 0 to 1."""
    if watch is None:
        return [None] * parts
    return [lambda share, part=part: watch((part + share) / parts) for part in range(parts)]  # type: ignore[misc]


def _check_comparable(record: ModelRecord, other: ModelRecord) -> None:
    if (record.task, record.method, record.architecture) != (other.task, other.method, other.architecture):
        raise RecipeError(
            f"{record.name} ({record.method} for {record.task}) and {other.name} ({other.method} for {other.task}) are "
            "not measured in the same way.",
            where="--against",
            fix="Choose a model of the same task and method.",
        )


def _explain_nothing(notes: Sequence[str], recipe: Recipe) -> str:
    if notes:
        return f"Nothing can be measured. {notes[0]}"
    return f"Nothing can be measured: in every row the answer is beyond {recipe.max_length} tokens."
