"""Whether a run may start: the only check for the app, the command line, sweeps, retries, resumed runs and Python.

In this order, once each: the combination of choices, the tracker, the limits of this machine, the disk, the dataset,
the memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from modelforge import base_model, hardware
from modelforge.choices.combinations import check_combination
from modelforge.choices.trackers import check_tracker
from modelforge.data.lengths import longest_row, mean_row
from modelforge.data.library import Datasets
from modelforge.models.library import Models
from modelforge.planner import sources
from modelforge.planner.disk import check_disk
from modelforge.planner.estimate import Machine, Rows, estimate_roughly
from modelforge.planner.plan import check_limits, refuse
from modelforge.planner.service import SERVICE
from modelforge.recipe import Recipe, read_stored
from modelforge.store import DatasetRecord
from modelforge.training.start import follow_parent

PLAIN = 0.4  # share of the free memory below which a rough figure, off by half, is good enough


@dataclass(frozen=True)
class Admitted:
    """recipe: as it will be trained, with the settings that follow from its parent model. evaluation: the dataset to
    evaluate on, if the recipe names one."""

    recipe: Recipe
    dataset: DatasetRecord
    evaluation: DatasetRecord | None


class Admission:
    """Checks recipes against the datasets and models of one home."""

    def __init__(self, datasets: Datasets, models: Models) -> None:
        self.datasets = datasets
        self.models = models

    def admit(self, recipe: Recipe) -> Admitted:
        """Refuse a recipe that cannot work. Raises ModelForgeError for the first thing that is wrong."""
        recipe = self._check_combination(recipe)
        check_tracker(recipe.report_to)
        check_limits(recipe, hardware.detect())
        check_disk(recipe)
        dataset, evaluation = self._find_datasets(recipe)
        self._check_memory(recipe, dataset)
        return Admitted(recipe, dataset, evaluation)

    def _check_combination(self, recipe: Recipe) -> Recipe:
        device = hardware.detect().device.kind
        check_combination(recipe, device=device)
        if recipe.parent:
            parent = self.models.find(recipe.parent)
            manifest = self.models.manifest(parent)
            stored = read_stored(manifest["recipe"], manifest.get("recipe_version", 1))
            recipe = follow_parent(recipe, parent, stored.recipe)
        architecture = base_model.check(recipe.base_model, recipe.task)
        check_combination(recipe, architecture=architecture, device=device)
        return recipe

    def _find_datasets(self, recipe: Recipe) -> tuple[DatasetRecord, DatasetRecord | None]:
        dataset = self.datasets.resolve(recipe.dataset, recipe)
        evaluation = self.datasets.resolve(recipe.eval_dataset, recipe) if recipe.eval_dataset else None
        for record in filter(None, (dataset, evaluation)):
            check_combination(recipe, shape=record.shape or None)
        return dataset, evaluation

    def _check_memory(self, recipe: Recipe, dataset: DatasetRecord) -> None:
        """Skips the planner if a rough figure clearly fits. If the planner does not answer the run is admitted."""
        config = sources.look_up(recipe).config
        if config is None:  # not known yet; the run plans again when it starts
            return
        machine = Machine.here()
        rough = estimate_roughly(recipe, machine, Rows(), config)
        if rough.memory and rough.memory.total <= PLAIN * machine.free_bytes:
            return
        longest = dataset.longest or longest_row(self.datasets.rows(dataset.id))
        rows = Rows(dataset.rows, longest or None, mean_row(dataset.bytes, dataset.rows))
        made = SERVICE.ask(recipe, rows)
        if made and not made.fits:
            refuse(SERVICE.ask(recipe, rows, with_advice=True) or made)
