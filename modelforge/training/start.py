"""What a run starts from: a base model, or a finished model to train further."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelforge import base_model, loading, paths
from modelforge.architecture import Architecture
from modelforge.base_model import BaseModel
from modelforge.base_model.revision import find_revision
from modelforge.compute.compute import Compute
from modelforge.errors import NotFoundError, RecipeError
from modelforge.recipe import Recipe
from modelforge.store import ModelRecord


@dataclass(frozen=True)
class Start:
    """base: the base model. weights: the folder with the weights, the base model's or a fully fine-tuned model's.
    adapter: the folder of an adapter to train further; None for a new one."""

    base: BaseModel
    weights: BaseModel
    adapter: Path | None
    architecture: Architecture
    config: Any

    def find_revisions(self) -> dict[str, str]:
        """{"base_model", "parent"} -> the revision of the files that it starts from; "" without a parent."""
        parent = self.adapter or (self.weights.folder if self.weights != self.base else None)
        return {"base_model": find_revision(self.base.folder), "parent": find_revision(parent) if parent else ""}

    def load_tokenizer(self) -> Any:
        return loading.load_tokenizer(self.adapter or self.weights.folder, self.base.id, self.architecture)

    def load_model(self, compute: Compute, seed: int) -> Any:
        """The weights, in the format that `compute` says."""
        return loading.load_model(
            self.weights,
            architecture=self.architecture,
            dtype=compute.dtype if compute.quantised else compute.weights,
            device=compute.device,
            quantised=compute.quantised,
            attention=compute.attention,
            seed=seed,
        )


def find_start(recipe: Recipe, meanwhile: Callable[[], None] = lambda: None) -> Start:
    """Find what the recipe starts from, and download it if needed. meanwhile: called often during the download; what it
    raises ends it.

    Raises NotFoundError if the model to train further is gone, BaseModelError, DownloadError, DiskFullError.
    """
    if recipe.parent and not paths.model_dir(recipe.parent).exists():
        fix = "Choose another model, or start from a base model."
        raise NotFoundError("The model to train further was deleted.", where="setting parent", fix=fix)
    base = base_model.resolve(recipe.base_model, recipe.task, meanwhile)
    weights, adapter = base, None
    if recipe.parent and recipe.tuning.has_adapter:
        adapter = paths.model_dir(recipe.parent)
    elif recipe.parent:
        weights = replace(base, folder=paths.model_dir(recipe.parent))
    architecture = base_model.architecture_of(weights, recipe.task)
    return Start(base, weights, adapter, architecture, loading.load_config(weights))


def follow_parent(recipe: Recipe, parent: ModelRecord, parent_recipe: Recipe) -> Recipe:
    """The recipe with the settings that the model to train further fixes: its base model and its tuning.

    Raises RecipeError if the recipe cannot start from that model.
    """
    where = "setting parent"
    if recipe.task.value != parent.task:
        fix = f"Set task to {parent.task}, or start from a base model."
        raise RecipeError(f"{parent.name} was trained for {parent.task}, not for {recipe.task}.", where=where, fix=fix)
    if recipe.tuning.has_adapter and parent.tuning == "full":
        fix = "Set tuning.type to full, or start from a base model."
        raise RecipeError(f"{parent.name} was fully fine-tuned, so it does not have an adapter.", where=where, fix=fix)
    if not recipe.tuning.has_adapter and parent.tuning != "full":
        fix = f"Set tuning.type to {parent.tuning}, or start from a base model."
        raise RecipeError(f"{parent.name} is an adapter; full tuning cannot start from it.", where=where, fix=fix)
    return recipe.model_copy(
        update={"parent": parent.id, "base_model": parent.base_model, "tuning": parent_recipe.tuning}
    )
