"""Two to eight runs side by side: the settings that differ, what was measured, and their curves. Pure functions: where
the runs and their events come from is up to `service.py`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from modelforge.errors import RunStateError
from modelforge.models.outcomes import Measured, compare_tuned
from modelforge.recipe import Recipe, fields
from modelforge.runs.event_text import MEASURED
from modelforge.runs.feed import Event
from modelforge.store import RunRecord

FEWEST, MOST = 2, 8
MOST_POINTS = 1000  # of a curve; of a longer one every other point is kept
TRAINED = ("loss", "reward", "reward_margin")
"""The curves of training steps. Those of the held-out rows have transformers' prefix: `eval_loss`."""
OWN_TOKENS = ("loss", "perplexity")
"""Metrics per token, each model's own."""

Axis = Literal["steps", "tokens", "minutes"]
AXES: tuple[Axis, ...] = ("steps", "tokens", "minutes")


Change = Mapping[str, float | None]
"""{value, low, high}: a difference and the bounds of its interval, None where there is none; from another run also the
number of rows that both measured."""


class Point(NamedTuple):
    """minutes: of training; evaluations are left out."""

    steps: int
    tokens: int
    minutes: float
    value: float


Curves = dict[str, list[Point]]


@dataclass(frozen=True)
class Entry:
    """A run to compare. rows: names the rows that it was measured on; equal for equal rows. measured: what its model
    made of each of them, where that was kept."""

    record: RunRecord
    recipe: Recipe
    rows: tuple[Any, ...]
    events: Iterable[Event]
    measured: Measured | None = None

    @property
    def label(self) -> str:
        return self.record.label or self.record.id


@dataclass(frozen=True)
class Comparison:
    """settings, metrics and curves: name -> a value for each run, in the order of `runs`, None where it has none.

    settings: those that differ. metrics: after training. differences: from before training, where they were measured.
    notes: a sentence for each thing that makes values incomparable or missing.
    """

    runs: tuple[RunRecord, ...]
    settings: dict[str, list[Any]]
    metrics: dict[str, list[float | None]]
    differences: dict[str, list[Change | None]]
    curves: dict[str, list[list[Point] | None]]
    from_first: dict[str, list[Change | None]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """{settings, metrics, from_first, curves}; a curve is {steps, tokens, minutes, values}, lists of the same
        length."""
        names = (*AXES, "values")
        curves = {
            name: [points and dict(zip(names, map(list, zip(*points, strict=True)), strict=True)) for points in listed]
            for name, listed in self.curves.items()
        }
        return {"settings": self.settings, "metrics": self.metrics, "from_first": self.from_first, "curves": curves}

    def as_csv(self) -> str:
        """A row for each run: its settings that differ, its metrics, and their differences with bounds, from before
        training and from the first run."""
        kinds = {"difference": self.differences, "from first": self.from_first}
        more = [(kind, name, part) for kind in kinds for name in kinds[kind] for part in ("value", "low", "high")]
        head = ["run", "name", "state", "dataset", *self.settings, *self.metrics]
        rows = []
        for index, record in enumerate(self.runs):
            values = [listed[index] for listed in (*self.settings.values(), *self.metrics.values())]
            bounds = [(kinds[kind][name][index] or {}).get(part) for kind, name, part in more]
            rows.append([record.id, record.label, record.state.value, record.dataset_name, *values, *bounds])
        return _write_csv([*head, *(f"{name} {kind} {part}" for kind, name, part in more)], rows)

    def curves_as_csv(self) -> str:
        """A row for each point of each curve."""
        rows = [
            [record.id, record.label, name, *point]
            for name, listed in self.curves.items()
            for record, points in zip(self.runs, listed, strict=True)
            for point in points or ()
        ]
        return _write_csv(["run", "name", "curve", *AXES, "value"], rows)


def compare(entries: Sequence[Entry]) -> Comparison:
    """Raises RunStateError for fewer than two runs, more than eight, or the same run twice."""
    check_count([entry.record.id for entry in entries])
    read = [read_curves(entry.events) for entry in entries]
    tuned = [entry.record.metrics.get("tuned") or {} for entry in entries]
    changed = [entry.record.metrics.get("difference") or {} for entry in entries]
    names = [*MEASURED, *(name for measured in tuned for name in measured)]
    metrics = {
        name: [measured.get(name) for measured in tuned]
        for name in dict.fromkeys(names)
        if any(name in measured for measured in tuned)
    }
    return Comparison(
        tuple(entry.record for entry in entries),
        find_differing([entry.recipe for entry in entries]),
        metrics,
        {name: [each.get(name) for each in changed] for name in metrics if any(name in each for each in changed)},
        {name: [curves.get(name) for curves in read] for name in dict.fromkeys(name for each in read for name in each)},
        _compare_with_first(entries),
        _describe_limits(entries, read, metrics),
    )


def _compare_with_first(entries: Sequence[Entry]) -> dict[str, list[Change | None]]:
    """Metric -> a difference for each run; None for the first, and where the rows of one are not known."""
    first, *others = (entry.measured for entry in entries)
    found = [compare_tuned(first, other) if first and other else {} for other in others]
    return {
        metric: [
            None,
            *({**each[metric].as_json(), "rows": each[metric].rows} if metric in each else None for each in found),
        ]
        for metric in dict.fromkeys(metric for each in found for metric in each)
    }


def check_count(run_ids: Sequence[str]) -> None:
    """Raises RunStateError unless these are two to eight different runs."""
    if not FEWEST <= len(run_ids) <= MOST:
        count = "1 run" if len(run_ids) == 1 else f"{len(run_ids)} runs"
        few = len(run_ids) < FEWEST
        what = f"{count} cannot be compared; {f'at least {FEWEST} are needed' if few else f'the limit is {MOST}'}."
        raise RunStateError(what, where="compare", fix="Choose another run." if few else "Choose fewer runs.")
    for run_id in run_ids:
        if run_ids.count(run_id) > 1:
            raise RunStateError("This run is given twice.", where=run_id, fix="Choose different runs.")


def find_differing(recipes: Sequence[Recipe]) -> dict[str, list[Any]]:
    """Full name of each setting that is not the same in all recipes -> its values."""
    dumped = [recipe.model_dump(mode="json") for recipe in recipes]
    found: dict[str, list[Any]] = {}
    for name in fields():
        values = [_reach(values, name) for values in dumped]
        if any(value != values[0] for value in values):
            found[name] = values
    return found


def read_curves(events: Iterable[Event]) -> Curves:
    """The curves of a run; of steps that were trained again after a run was resumed, the newest values. At most
    MOST_POINTS points each."""
    curves: Curves = {}
    now, before = Point(0, 0, 0.0, 0.0), 0.0  # the newest step; minutes of earlier processes
    for event in events:
        match event["type"]:
            case "started":
                curves = _rewind(curves, event.get("step") or 0)
                now = max((points[-1] for points in curves.values()), default=Point(0, 0, 0.0, 0.0))
                before = now.minutes
            case "progress":
                minutes = before + event.get("seconds", 0.0) / 60
                now = Point(event["step"], event.get("tokens", 0), minutes, 0.0)
                _add(curves, now, {name: event.get(name) for name in TRAINED})
            case "evaluated":
                measured = {"loss": event.get("eval_loss"), **event}  # older runs wrote it under that name alone
                known = {f"eval_{name}": value for name, value in measured.items() if name in MEASURED}
                _add(curves, Point(event["step"], now.tokens, now.minutes, 0.0), known)
    return curves


def _rewind(curves: Curves, step: int) -> Curves:
    kept = {name: [point for point in points if point.steps <= step] for name, points in curves.items()}
    return {name: points for name, points in kept.items() if points}


def _add(curves: Curves, at: Point, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, int | float):
            points = curves.setdefault(name, [])
            points.append(Point(at.steps, at.tokens, at.minutes, float(value)))
            if len(points) > MOST_POINTS:
                del points[1:-1:2]


def _describe_limits(entries: Sequence[Entry], read: Sequence[Curves], metrics: Mapping[str, Any]) -> list[str]:
    notes = []
    measured = [entry for entry in entries if entry.record.metrics.get("tuned")]
    if len({entry.rows for entry in measured}) > 1:
        notes.append(
            "These runs were measured on different rows: their metrics cannot be compared with each other. Give them "
            "the same evaluation file (eval_dataset), or the same dataset, eval_split and seed."
        )
    if len({entry.recipe.base_model for entry in measured}) > 1 and any(name in metrics for name in OWN_TOKENS):
        notes.append(
            "Loss and perplexity cannot be compared between different base models: each counts its own tokens."
        )
    for entry, curves in zip(entries, read, strict=True):
        if not curves:
            notes.append(f"{entry.label} has no curve: it has not trained a step, or its events are missing.")
    return notes


def _reach(values: Any, name: str) -> Any:
    for part in name.split("."):
        values = values[part]
    return values


def _write_csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(head)
    writer.writerows([_make_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _make_cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets an apostrophe in front."""
    value = json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
