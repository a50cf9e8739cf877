"""More data or more epochs? Finds the runs on a half and a quarter of a run's data, and says what all three tell.

The laws are in `scores/scaling.py`. The smaller runs are ordinary ones with another `train_share`, measured on the same
held-out rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from modelforge.errors import DatasetError, ModelForgeError, RunStateError
from modelforge.models.folder import read_manifest
from modelforge.models.outcomes import TUNED, Outcome, read_outcomes, stack
from modelforge.recipe import Recipe, read_stored
from modelforge.scores.metrics import TELLING
from modelforge.scores.scaling import FEWEST_ROWS, FEWEST_TRAINED, Epochs, Forecast, forecast_doubling, judge_epochs
from modelforge.store import RunRecord, RunState

SHARES = {0.5: "half of the data", 0.25: "a quarter of the data"}
_FREE = {"name", "train_share", "max_steps"}  # settings in which a smaller run differs


@dataclass(frozen=True)
class Growth:
    """epochs: of the run's own curve. data: None until both smaller runs have finished. smaller: share -> the newest
    such run, whatever its state."""

    epochs: Epochs
    data: Forecast | None
    smaller: Mapping[float, RunRecord]

    def as_json(self) -> dict[str, Any]:
        return {
            "epochs": asdict(self.epochs),
            "data": asdict(self.data) if self.data else None,
            "runs": {str(share): record.id for share, record in self.smaller.items()},
        }


def check_can_ask(record: RunRecord) -> Recipe:
    """The recipe of a run that can be asked about. Raises RunStateError for one without a verdict or on a share of its
    data, DatasetError where there is too little to divide or to measure."""
    recipe = read_stored(record.recipe, record.recipe_version).recipe
    if (
        record.state is not RunState.finished
        or not record.model_id
        or not record.metrics.get("verdict", {}).get("metric")
    ):
        fix = "Choose a finished run that held out examples."
        raise RunStateError("This run has no verdict, so runs on less data have nothing to compare with.",
            where=record.id, fix=fix)  # fmt: skip
    if recipe.train_share < 1:
        fix = "Ask about the run on all of them."
        raise RunStateError("This run was itself trained on a share of its examples.", where=record.id, fix=fix)
    trained, measured = count_trained(record), int(record.metrics["verdict"]["rows"])
    if not trained:
        raise RunStateError("The model of this run was deleted.", where=record.id, fix="Choose another run.")
    for rows, least, what in ((trained, FEWEST_TRAINED, "training"), (measured, FEWEST_ROWS, "held-out")):
        if rows < least:
            fix = f"At least {least} are needed: add examples."
            raise DatasetError(
                f"{rows} {what} rows are too few to tell what more would give.", where=record.id, fix=fix
            )
    return recipe


def vary_share(recipe: Recipe, share: float) -> Recipe:
    """The recipe on a share of its training rows; as many epochs, so fewer steps."""
    steps = {"max_steps": max(1, round(share * recipe.max_steps))} if recipe.max_steps else {}
    name = f"{recipe.name[:80] or 'Run'}: {SHARES[share]}"
    return recipe.with_settings({"train_share": share, "name": name, **steps})


def find_smaller(record: RunRecord, runs: Sequence[RunRecord]) -> dict[float, RunRecord]:
    """Share -> the run of that recipe on that share of its rows: a finished one, else one in progress. runs: the newest
    first."""
    found: dict[float, RunRecord] = {}
    for each in runs:
        share = each.recipe.get("train_share", 1.0)
        is_useful = each.state.active or (each.state is RunState.finished and each.model_id)
        is_better = share not in found or found[share].state.active
        if share in SHARES and is_useful and is_better and _is_same(each.recipe, record.recipe, share):
            found[share] = each
    return found


def _is_same(smaller: Mapping[str, Any], whole: Mapping[str, Any], share: float) -> bool:
    names = (smaller.keys() | whole.keys()) - _FREE
    steps = max(1, round(share * whole["max_steps"])) if whole.get("max_steps") else 0
    return all(smaller.get(name) == whole.get(name) for name in names) and smaller.get("max_steps", 0) == steps


def describe_growth(
    record: RunRecord, smaller: Mapping[float, RunRecord], events: Sequence[Mapping[str, Any]]
) -> Growth:
    """What the run and the smaller ones tell. events: of the run."""
    epochs = judge_epochs(*read_curve(events))
    finished = [smaller[share] for share in sorted(SHARES) if share in smaller and smaller[share].model_id]
    data = forecast(record, finished) if len(finished) == len(SHARES) else None
    return Growth(epochs, data, smaller)


def read_curve(events: Sequence[Mapping[str, Any]]) -> tuple[str, list[tuple[float, float]]]:
    """(metric, (epoch, value) of each evaluation) of the telling metric of a run."""
    measured = [each for each in events if each["type"] == "evaluated"]
    metric = next((name for name in TELLING if measured and name in measured[-1]), "loss")
    last = next((each for each in reversed(events) if each["type"] == "progress" and each.get("epoch")), None)
    epoch = last["epoch"] / last["step"] if last else 1.0  # of a step
    curve = {each["step"]: each[metric] for each in measured if isinstance(each.get(metric), int | float)}
    return metric, [(step * epoch, float(value)) for step, value in sorted(curve.items())]


def forecast(record: RunRecord, smaller: Sequence[RunRecord]) -> Forecast:
    """From a run and its smaller ones, the smallest first, on the rows that all three measured."""
    from modelforge.scores.statistics import find_combine

    metric = record.metrics["verdict"]["metric"]
    runs = [*smaller, record]
    name = "loss" if metric == "perplexity" else metric
    listed: list[dict[str, Outcome]] = []
    for each in runs:
        measured = read_outcomes(each.model_id or "")
        rows = measured.outcomes if measured else ()
        listed.append({row.id: row for row in rows if name in row.scores.get(TUNED, {}) and not row.known})
    shared = [key for key in listed[-1] if all(key in rows for rows in listed)]
    if not shared:
        return Forecast("cannot tell", "These runs have no measured rows in common.", metric)
    sides = [stack(metric, [rows[key] for key in shared], TUNED) for rows in listed]
    return forecast_doubling(metric, [count_trained(each) for each in runs], sides, find_combine(metric))


def count_trained(record: RunRecord) -> int:
    """Training rows of a finished run; 0 where its model is gone."""
    try:
        return int(read_manifest(record.model_id or "")["dataset"]["train_rows"])
    except (ModelForgeError, KeyError):
        return 0
