"""Where a run's numbers can also be recorded: other programs' dashboards, optional extras of this package."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from modelforge.caller import current_caller
from modelforge.errors import AccessError, RecipeError


@dataclass(frozen=True)
class Tracker:
    """package: what is imported. stays_in_run: it writes into the run's folder, and nowhere else."""

    package: str
    stays_in_run: bool


TRACKERS = {
    "trackio": Tracker("trackio", stays_in_run=False),
    "wandb": Tracker("wandb", stays_in_run=False),
    "tensorboard": Tracker("tensorboard", stays_in_run=True),
}
"""By the names that transformers has for them in `report_to`."""


def check_tracker(name: str) -> None:
    """Raises AccessError for a tracker of the machine's owner that somebody from afar names, RecipeError for one that
    is not installed."""
    if name not in TRACKERS:  # none
        return
    tracker, where = TRACKERS[name], "setting report_to"
    if not tracker.stays_in_run and not current_caller().is_local:
        what = f"{name} records outside of this app, with the account of the machine's owner: not possible from afar."
        raise AccessError(what, where=where, fix="Set report_to to none or tensorboard.")
    if find_spec(tracker.package) is None:
        what = f"{name} is not installed."
        raise RecipeError(what, where=where, fix=f"Run `pip install 'modelforge[{name}]'`, or set report_to to none.")
