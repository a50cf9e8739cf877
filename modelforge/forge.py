"""The object that holds it all together: `forge.datasets`, `forge.runs`, `forge.models`.

forge = Forge()
run = forge.runs.start(Recipe(dataset="faq.csv"))
run.wait()
print(forge.models[run.model_id].chat("hi"))
"""

from __future__ import annotations

import threading

from modelforge import base_model, hardware, paths, planner
from modelforge.data.lengths import longest_row
from modelforge.data.library import Datasets
from modelforge.legacy import Legacy
from modelforge.models.chat import Playground
from modelforge.models.library import Models
from modelforge.recipe import Recipe
from modelforge.store import DatasetRecord, Store
from modelforge.training.combinations import check_combination
from modelforge.training.runs import Runs
from modelforge.training.start import follow_parent


class Forge:
    """Builds the services once. Cheap: torch is loaded by the first run or the first chat."""

    def __init__(self) -> None:
        self.store = Store(paths.database())
        self.playground = Playground()
        self.datasets = Datasets(self.store)
        self.models = Models(self.store, self.playground)
        self.legacy = Legacy(self.store)
        self.runs = Runs(self.store, self._admit, self.playground.unload)

    def _admit(self, recipe: Recipe) -> tuple[Recipe, DatasetRecord, DatasetRecord | None]:
        """Refuse at once what cannot work; else the recipe, with what follows from a model that it trains further, its
        dataset, prepared, and that to measure with if it names one."""
        device = hardware.detect().device.kind
        check_combination(recipe, device=device)
        if recipe.parent:
            parent = self.models.find(recipe.parent)
            recipe = follow_parent(recipe, parent, Recipe.build(self.models.manifest(parent)["recipe"]))
        architecture = base_model.check(recipe.base_model, recipe.task)
        check_combination(recipe, architecture=architecture, device=device)
        planner.check_disk(recipe)
        dataset = self.datasets.resolve(recipe.dataset, recipe)
        evaluation = self.datasets.resolve(recipe.eval_dataset, recipe) if recipe.eval_dataset else None
        for record in filter(None, (dataset, evaluation)):
            check_combination(recipe, shape=record.shape or None)
        planner.admit(recipe, lambda: longest_row(self.datasets.rows(dataset.id)))
        return recipe, dataset, evaluation


_shared: Forge | None = None
_shared_lock = threading.Lock()


def shared_forge() -> Forge:
    """The one Forge of this process, whoever asks and however many at once."""
    global _shared  # noqa: PLW0603 - the app's tabs and its handlers share one worker
    with _shared_lock:
        if _shared is None:
            _shared = Forge()
        return _shared
