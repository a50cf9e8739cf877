"""A finished run as a recipe with a proof, and whether another run of that recipe has the same curve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from modelforge.errors import RecipeError, RunStateError
from modelforge.recipe import Recipe
from modelforge.recipe.proof import BLOCK, Curve, Data, Proof
from modelforge.runs.comparison import Curves, read_curves
from modelforge.runs.feed import Event
from modelforge.store import DatasetRecord, RunRecord, RunState

PROVEN = ("loss", "reward", "reward_margin", "eval_loss", "eval_mean_reward", "eval_reward_margin")
"""The curves that are recorded and compared."""
TOLERANCE = 0.01
"""By how much a value may differ: this share of the recorded one, and this much where that is below 1."""
_HEAD = "# Recorded by a finished run. `modelforge train FILE --verify` trains it again and compares the curve.\n"


@dataclass(frozen=True)
class Difference:
    """The first point that differs. expected, found: None where there is no such step."""

    curve: str
    step: int
    expected: float | None
    found: float | None

    @property
    def sentence(self) -> str:
        expected, found = ("no value" if each is None else f"{each:.6g}" for each in (self.expected, self.found))
        return f"{self.curve} at step {self.step}: recorded {expected}, found {found}"


@dataclass(frozen=True)
class Verification:
    """difference: the first one beyond TOLERANCE; None if the curves match. changes: what may be the reason: versions
    and the machine, where they differ from the recorded ones."""

    difference: Difference | None
    changes: list[str]

    @property
    def matches(self) -> bool:
        return self.difference is None

    def as_json(self) -> dict[str, Any]:
        first = asdict(self.difference) if self.difference else None
        return {"matches": self.matches, "tolerance": TOLERANCE, "difference": first, "changes": self.changes}

    @property
    def sentence(self) -> str:
        within = f"within {TOLERANCE:.0%} of each value, or {TOLERANCE:g} where that is below 1"
        if self.difference is None:
            return f"The curve matches the recorded one ({within})."
        reasons = f" Possible reasons: {'; '.join(self.changes)}." if self.changes else ""
        return f"The curve does not match the recorded one ({within}). First: {self.difference.sentence}.{reasons}"


def verify(proof: Proof, events: Sequence[Event]) -> Verification:
    """Compare a run's events with a proof."""
    started: Mapping[str, Any] = next((each for each in reversed(events) if each["type"] == "started"), {})
    return Verification(find_difference(proof, read_curves(events)), list_changes(proof, started))


def write_proof(record: RunRecord, recipe: Recipe, events: Iterable[Event]) -> str:
    """The recipe of a finished run as YAML with its proof. Raises RunStateError for a run that has not finished, or
    whose events do not tell what it used."""
    if record.state is not RunState.finished:
        what = f"Only a finished run gives a recipe with a proof; this one is {record.state.value}."
        raise RunStateError(what, where=record.id, fix="Wait until it has finished, or resume it.")
    listed = list(_without_answers(events))
    started: Mapping[str, Any] = next((each for each in reversed(listed) if each["type"] == "started"), {})
    curves = read_curves(listed)
    if "sha256" not in started.get("dataset", {}) or not any(name in curves for name in PROVEN):
        what = "What this run used was not recorded: its events are missing, or an older version trained it."
        raise RunStateError(what, where=record.id, fix="Train its recipe again.")
    measured = record.metrics.get("tuned") or {}
    proof = Proof(
        run=record.id,
        finished=record.finished or "",
        data=Data.model_validate(started["dataset"]),
        **started.get("revisions", {}),
        versions=started.get("versions", {}),
        machine=started.get("machine", {}),
        metrics={name: _round(value) for name, value in measured.items() if isinstance(value, int | float)},
        curve={
            name: Curve(steps=[each.steps for each in points], values=[_round(each.value) for each in points])
            for name, points in curves.items()
            if name in PROVEN
        },
    )
    block = yaml.safe_dump(
        {BLOCK: proof.model_dump(mode="json")}, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120
    )
    return _HEAD + recipe.to_yaml() + block


def _without_answers(events: Iterable[Event]) -> Iterable[Event]:
    return (event for event in events if event["type"] in ("started", "progress", "evaluated"))


def _round(value: float) -> float:
    return float(f"{value:.6g}")


def check_inputs(
    proof: Proof, dataset: DatasetRecord, evaluation: DatasetRecord | None, revisions: Mapping[str, str]
) -> None:
    """Refuse to train on other data, or from another model, than the proof names. Raises RecipeError."""
    pairs = [("dataset", proof.data.sha256, dataset.sha256)]
    pairs += [("eval_dataset", proof.data.eval_sha256, evaluation.sha256 if evaluation else "")]
    for setting, expected, found in pairs:
        if expected != found:
            raise RecipeError(
                f"These are not the examples that were trained on: their hash is {found[:12] or 'none'}, "
                f"recorded is {expected[:12] or 'none'}.",
                where=f"setting {setting}",
                fix=f"Give the original file: --set {setting}=FILE.",
            )
    for setting, expected in (("base_model", proof.base_model), ("parent", proof.parent)):
        found = revisions.get(setting, "")
        if is_other_revision(expected, found):
            raise RecipeError(
                f"This is another revision of the model than was trained: {found[:19]}, recorded is {expected[:19]}.",
                where=f"setting {setting}",
                fix=f"Give the folder with the original model: --set {setting}=FOLDER.",
            )


def is_other_revision(expected: str, found: str) -> bool:
    """Whether two revisions are of one kind and differ: a commit cannot be compared with a hash."""
    return expected != found and expected.partition(":")[0] == found.partition(":")[0]


def list_changes(proof: Proof, started: Mapping[str, Any]) -> list[str]:
    """A sentence for each version and each thing about the machine that differs from the recorded run."""
    found: list[str] = []
    for title, recorded in (("versions", proof.versions), ("machine", proof.machine)):
        here = started.get(title, {})
        found += [
            f"{name}: recorded {value}, here {here.get(name, 'unknown')}"
            for name, value in recorded.items()
            if here.get(name) != value
        ]
    revisions = {"base_model": proof.base_model, "parent": proof.parent}
    here = started.get("revisions", {})
    return found + [
        f"{name}: recorded {value}, here {here.get(name) or 'unknown'}"
        for name, value in revisions.items()
        if value and here.get(name) != value
    ]


def find_difference(proof: Proof, curves: Curves) -> Difference | None:
    """The first step at which a curve differs from the recorded one by more than TOLERANCE; None if all match."""
    differences = []
    for name, recorded in proof.curve.items():
        expected = dict(zip(recorded.steps, recorded.values, strict=True))
        found = {point.steps: point.value for point in curves.get(name, [])}
        for step in sorted({*expected, *found}):
            pair = expected.get(step), found.get(step)
            if not _is_close(*pair):
                differences.append(Difference(name, step, *pair))
                break
    return min(differences, key=lambda each: each.step, default=None)


def _is_close(expected: float | None, found: float | None) -> bool:
    if expected is None or found is None:
        return False
    return abs(expected - found) <= TOLERANCE * max(abs(expected), 1.0)
