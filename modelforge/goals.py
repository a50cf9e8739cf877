"""From a goal and a dataset to proposed settings. The goals are data: assets/presets.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from modelforge import paths
from modelforge.data.samples import samples
from modelforge.recipe import STARTER, Recipe, Task


@dataclass(frozen=True)
class Goal:
    """What somebody wants of a run. rows_seen: examples gone through, repeats included; epochs: (fewest, most)."""

    key: str
    title: str
    sentence: str
    rows_seen: int
    epochs: tuple[int, int]
    settings: dict[str, Any]

    def propose(self, rows: int) -> dict[str, Any]:
        """Settings for a dataset of that many rows."""
        fewest, most = self.epochs
        passes = min(max(round(self.rows_seen / max(rows, 1)), fewest), most)
        return {**self.settings, "num_train_epochs": float(passes)}


def goals() -> dict[str, Goal]:
    """Every goal by its key, in the order in which they are offered."""
    listed = yaml.safe_load(paths.asset("presets.yaml").read_text(encoding="utf-8"))
    return {key: Goal(key, **{**values, "epochs": tuple(values["epochs"])}) for key, values in listed.items()}


def demo_recipe() -> Recipe:
    """The starter on the bundled dataset for text generation, as a quick try."""
    sample = next(sample for sample in samples() if sample.task is Task.TEXT_GENERATION)
    recipe = Recipe(base_model=STARTER, dataset=sample.name, name="Demo")
    return recipe.with_settings(goals()["quick"].propose(sample.rows))
