"""Settings proposed for a goal, by the dataset, base model, method and tuning. Goals and rules: assets/presets.yaml.

The app proposes presets from sizes alone; a recipe file that does not set a value has the recipe's default instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelforge import catalog, paths
from modelforge.data.samples import samples
from modelforge.hardware import Hardware
from modelforge.recipe import STARTER, STARTERS_BY_TASK, Recipe, Task
from modelforge.tasks import TASKS

SIZES = {"tiny": 50_000_000, "small": 300_000_000, "medium": 2_000_000_000}
"""Size of a base model in the rules -> the number of parameters it is below; anything above is large."""


@dataclass(frozen=True)
class Goal:
    """What a run is for. rows_seen: examples trained on, repeats included. epochs: (fewest, most)."""

    key: str
    title: str
    sentence: str
    rows_seen: int
    epochs: tuple[int, int]

    def propose(
        self,
        rows: int,
        *,
        task: Task = Task.TEXT_GENERATION,
        method: str = "sft",
        tuning: str = "lora",
        architecture: str | None = None,
        parameters: int = 0,
        hardware: Hardware | None = None,
    ) -> dict[str, Any]:
        """Settings for a dataset of that many rows, by their full names.

        architecture: the base model's, by name; by default the usual one of the task. parameters: its count; by default
        that of the task's starter. hardware: by default a machine of the lowest tier.
        """
        starter = catalog.find(STARTERS_BY_TASK[task])
        case = {
            "goal": self.key,
            "task": task.value,
            "method": method,
            "tuning": tuning,
            "architecture": architecture or TASKS[task].architectures[0],
            "size": _size(parameters or (starter.parameters if starter else 0)),
            "tier": hardware.tier if hardware else "low",
        }
        wanted: dict[str, Any] = {"rows_seen": self.rows_seen, "epochs": self.epochs}
        for rule in paths.read_asset("presets.yaml")["rules"]:
            if _applies(rule["for"], case):
                wanted |= rule["set"]
        (fewest, most), rows_seen = wanted.pop("epochs"), wanted.pop("rows_seen")
        if tuning == "full":
            wanted = {name: value for name, value in wanted.items() if not name.startswith("tuning.")}
        if "max_steps" in wanted:
            return wanted
        passes = min(max(round(rows_seen / max(rows, 1)), fewest), most)
        return {**wanted, "num_train_epochs": float(passes)}


def goals() -> dict[str, Goal]:
    """Every goal by its key, in the order of display."""
    listed = paths.read_asset("presets.yaml")["goals"]
    return {key: Goal(key, **{**values, "epochs": tuple(values["epochs"])}) for key, values in listed.items()}


def demo_recipe() -> Recipe:
    """A quick run of the starter on the bundled dataset for text generation."""
    sample = next(sample for sample in samples() if sample.task is Task.TEXT_GENERATION)
    recipe = Recipe(base_model=STARTER, dataset=sample.name, name="Demo")
    return recipe.with_settings(goals()["quick"].propose(sample.rows))


def _applies(cases: Mapping[str, str | list[str]], case: Mapping[str, str]) -> bool:
    """cases: name of an axis -> the value or values that a rule is for."""
    return all(case[axis] in ([wanted] if isinstance(wanted, str) else wanted) for axis, wanted in cases.items())


def _size(parameters: int) -> str:
    return next((name for name, limit in SIZES.items() if parameters < limit), "large")
