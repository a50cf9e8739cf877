"""What a run starts from: a base model, or a finished model that is trained further."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelforge import base_model, loading, paths
from modelforge.architecture import Architecture
from modelforge.base_model import BaseModel
from modelforge.compute.compute import Compute
from modelforge.errors import NotFoundError, RecipeError
from modelforge.recipe import Recipe
from modelforge.store import ModelRecord


@dataclass(frozen=True)
class Start:
    """base: the base model. weights: where the weights lie, the base model's or those of a model that was trained
    whole. adapter: the folder of an adapter to train further; None for a fresh one."""

    base: BaseModel
    weights: BaseModel
    adapter: Path | None
    architecture: Architecture
    config: Any

    def load_tokenizer(self) -> Any:
        return loading.load_tokenizer(self.adapter or self.weights.folder, self.base.id, self.architecture)

    def load_model(self, compute: Compute, seed: int) -> Any:
        """The weights, as they were decided to be kept."""
        return loading.load_model(
            self.weights,
            architecture=self.architecture,
            dtype=compute.dtype if compute.quantised else compute.weights,
            device=compute.device,
            quantised=compute.quantised,
            attention=compute.attention,
            seed=seed,
        )


def find_start(recipe: Recipe) -> Start:
    """Find what the recipe starts from, fetching it if need be.

    Raises NotFoundError for a model to train further that is gone, BaseModelError, DownloadError, DiskFullError.
    """
    if recipe.parent and not paths.model_dir(recipe.parent).exists():
        fix = "Choose another model, or start from a base model."
        raise NotFoundError("The model to train further was deleted.", where="setting parent", fix=fix)
    base = base_model.resolve(recipe.base_model, recipe.task)
    weights, adapter = base, None
    if recipe.parent and recipe.tuning.has_adapter:
        adapter = paths.model_dir(recipe.parent)
    elif recipe.parent:
        weights = replace(base, folder=paths.model_dir(recipe.parent))
    architecture = base_model.check_architecture(weights, recipe.task)
    return Start(base, weights, adapter, architecture, loading.load_config(weights))


def follow_parent(recipe: Recipe, parent: ModelRecord, parent_recipe: Recipe) -> Recipe:
    """The recipe with what a model that is trained further has settled already: base model, adapter, head.

    Raises RecipeError for a recipe that cannot go on from that model.
    """
    where = "setting parent"
    if recipe.task.value != parent.task:
        fix = f"Set task to {parent.task}, or start from a base model."
        raise RecipeError(f"{parent.name} was trained for {parent.task}, not for {recipe.task}.", where=where, fix=fix)
    if recipe.tuning.has_adapter and parent.tuning == "full":
        fix = "Set tuning.type to full, or start from a base model."
        raise RecipeError(f"{parent.name} was trained whole and has no adapter to go on with.", where=where, fix=fix)
    if not recipe.tuning.has_adapter and parent.tuning != "full":
        fix = f"Set tuning.type to {parent.tuning}, or start from a base model."
        raise RecipeError(f"{parent.name} is an adapter; its base model was not trained.", where=where, fix=fix)
    return recipe.model_copy(
        update={"parent": parent.id, "base_model": parent.base_model, "tuning": parent_recipe.tuning}
    )
