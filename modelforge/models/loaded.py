"""Loads a finished model from its files, tuned and as its base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelforge import base_model, hardware, loading, paths
from modelforge.architecture import ARCHITECTURES, Architecture
from modelforge.models import folder
from modelforge.models.untrained import is_untrained
from modelforge.recipe import Recipe, Task, read_stored
from modelforge.store import ModelRecord


@dataclass
class Loaded:
    """tuned and base are the same object where the tuning is an adapter, and for an untrained base model; after full
    fine-tuning base is another model, None until it is needed."""

    record: ModelRecord
    manifest: Mapping[str, Any]
    recipe: Recipe
    tokenizer: Any
    tuned: Any
    base: Any

    @property
    def is_adapter(self) -> bool:
        return self.tuned is self.base and not is_untrained(self.record)

    @property
    def has_unanswerable(self) -> bool:
        """Whether its training had questions that their text does not answer."""
        return bool(self.manifest["dataset"].get("has_unanswerable"))


def load_tuned(record: ModelRecord) -> Loaded:
    """The model, ready to answer. Raises NotFoundError or BaseModelError."""
    if is_untrained(record):
        return _load_untrained(record)
    manifest = folder.read_manifest(record.id)  # whole, or NotFoundError
    recipe = read_stored(manifest["recipe"], manifest.get("recipe_version", 1)).recipe
    place, architecture = paths.model_dir(record.id), ARCHITECTURES[record.architecture]
    tokenizer = loading.load_tokenizer(place, record.name, architecture)
    if record.tuning == "full":
        own = base_model.BaseModel(record.name, place, "")  # its base is needed only for comparisons
        tuned = prepare(load_weights(own, architecture))
        return Loaded(record, manifest, recipe, tokenizer, tuned, None)
    base = base_model.resolve(record.base_model)
    weights = load_weights(base, architecture, quantised=record.tuning == "qlora", seed=recipe.seed)
    tuned = prepare(loading.load_adapter(weights, place, record.name))
    return Loaded(record, manifest, recipe, tokenizer, tuned, tuned)


def _load_untrained(record: ModelRecord) -> Loaded:
    base, architecture = base_model.resolve(record.base_model), ARCHITECTURES[record.architecture]
    tokenizer = loading.load_tokenizer(base.folder, base.id, architecture)
    recipe = Recipe(base_model=record.base_model, task=Task(record.task))
    model = prepare(load_weights(base, architecture, seed=recipe.seed))
    return Loaded(record, {"dataset": {}}, recipe, tokenizer, model, model)


def load_base(loaded: Loaded) -> Any:
    """The base model of a fully fine-tuned one, ready to answer."""
    base = base_model.resolve(loaded.record.base_model)
    return prepare(load_weights(base, ARCHITECTURES[loaded.record.architecture], seed=loaded.recipe.seed))


def prepare(model: Any) -> Any:
    """The same model, ready to answer, and faster where that was measured."""
    model.eval()
    if model.device.type == "cpu":
        from modelforge.compute.decoders.grouped import speed_up

        speed_up(model)
    return model


def load_weights(
    base: base_model.BaseModel, architecture: Architecture, *, quantised: bool = False, seed: int = 0
) -> Any:
    """A model's weights on the fastest device; in 4 bits as in training, where the device supports that. seed: that of
    the training, so that a head that is missing in the files starts as it did in training."""
    found = hardware.probe()
    dtype = "float32" if found.kind == "cpu" else max(found.gigaflops, key=lambda name: found.gigaflops[name])
    return loading.load_model(
        base,
        architecture=architecture,
        dtype=dtype,
        device=found.kind,
        quantised=quantised and found.kind != "mps",
        seed=seed,
    )
