"""The model that is exported, loaded: base and adapter apart, in the numbers of the training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelforge import base_model, hardware, loading, paths
from modelforge.architecture import ARCHITECTURES
from modelforge.base_model.config import read_config
from modelforge.base_model.contents import read_folder
from modelforge.base_model.find import find_here
from modelforge.errors import BaseModelError
from modelforge.models.folder import read_manifest
from modelforge.models.loaded import Loaded
from modelforge.recipe import read_stored
from modelforge.store import ModelRecord

_WIDE_BYTES = 4  # of a weight in float32


@dataclass
class Source:
    """loaded: its tuned model is given up when an adapter is folded into it. base: what that starts from; after full
    fine-tuning the model itself. dtype: a torch dtype's name, that of the files of the base."""

    loaded: Loaded
    base: base_model.BaseModel
    dtype: str

    @property
    def record(self) -> ModelRecord:
        return self.loaded.record

    @property
    def folder(self) -> Path:
        return paths.model_dir(self.record.id)

    def free(self) -> None:
        """Give up the weights: what was written is loaded next."""
        self.loaded.tuned = self.loaded.base = None


def count_parameters(record: ModelRecord) -> int:
    """Of the base model, if its files are here, else 0. Downloads nothing."""
    try:
        place = (
            paths.model_dir(record.id)
            if record.tuning == "full"
            else getattr(find_here(record.base_model), "folder", None)
        )
        return read_folder(place, record.name).parameters if place else 0
    except BaseModelError:
        return 0


def find_stored_bits(record: ModelRecord) -> int:
    """Of a weight in the files of the base model, which are here."""
    base = find_here(record.base_model)
    place = paths.model_dir(record.id) if record.tuning == "full" or base is None else base.folder
    return 32 if _read_dtype(read_config(place, record.name)) == "float32" else 16


def _read_dtype(values: Mapping[str, Any]) -> str:
    return str(values.get("dtype") or values.get("torch_dtype") or "float32").removeprefix("torch.")


def load_source(record: ModelRecord) -> Source:
    """The model on the processor. Raises NotFoundError, BaseModelError."""
    manifest = read_manifest(record.id)
    recipe = read_stored(manifest["recipe"], manifest.get("recipe_version", 1)).recipe
    place = paths.model_dir(record.id)
    tokenizer = loading.load_tokenizer(place, record.name, ARCHITECTURES[record.architecture])
    is_full = record.tuning == "full"
    base = base_model.BaseModel(record.name, place, "") if is_full else base_model.resolve(record.base_model)
    stored = _read_dtype(read_config(base.folder, record.name))
    model = load_weights(record, base, stored, recipe.seed)
    if not is_full:
        model = loading.load_adapter(model, place, record.name)
    return Source(Loaded(record, manifest, recipe, tokenizer, model.eval(), None), base, stored)


def load_weights(record: ModelRecord, base: base_model.BaseModel, stored: str, seed: int) -> Any:
    """Base weights as they were in training: after QLoRA the 4-bit numbers written out, which the adapter was trained
    on. stored: the dtype of the files."""
    quantised = record.tuning == "qlora" and base.folder != paths.model_dir(record.id)
    model = loading.load_model(
        base,
        architecture=ARCHITECTURES[record.architecture],
        dtype=_choose_dtype(base.folder, record.name, stored),
        device="cpu",
        quantised=quantised,
        seed=seed,
    )
    if quantised:
        model = model.dequantize()
        model.hf_quantizer = None
    return model


def _choose_dtype(folder: Path, name: str, stored: str) -> str:
    """float32, in which an adapter is folded in without loss, where that fits into memory."""
    needed = _WIDE_BYTES * read_folder(folder, name).parameters
    return "float32" if needed < 0.8 * hardware.detect().free_memory_bytes else stored
