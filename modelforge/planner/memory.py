"""What a recipe needs of the device's memory: weights, gradients, optimizer, activations, and torch itself."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from modelforge.architecture import Architecture, recognise
from modelforge.compute.compute import Compute
from modelforge.errors import RecipeError
from modelforge.hardware import DeviceKind
from modelforge.recipe import Recipe

if TYPE_CHECKING:
    from modelforge.planner.simulation import StepBytes

log = logging.getLogger("modelforge")

OPTIMIZER_BYTES: Mapping[str, float] = {
    "adamw_torch": 8,  # two moments in float32
    "adamw_torch_fused": 8,
    "paged_adamw_8bit": 2.03,  # two moments in 8 bits and a float32 for each block of 256: arXiv 2110.02861
    "adafactor": 0.1,  # a row and a column for each matrix: arXiv 1804.04235
}
"""Optimizer -> bytes for each trained number."""

RUNTIME_BYTES: Mapping[DeviceKind, int] = {
    "cpu": 650_000_000,  # resident with torch, transformers, trl and peft loaded and a dataset encoded, measured
    "mps": 600_000_000,
    "cuda": 500_000_000,  # context and cuBLAS workspace; "about 0.5 GB" in Hugging Face's "Model memory anatomy"
}
"""What a device holds before the first weight."""

ALLOCATOR: Mapping[DeviceKind, float] = {"cpu": 1.35, "mps": 1.1, "cuda": 1.05}
"""What is taken for each byte that a step holds. On a processor glibc's heap grows beyond what is held, more so since
`compute.memory.kept_blocks` keeps it: measured 1.2 for full tuning in float32, 1.1 to 1.3 for LoRA in bfloat16, 1.5
where its layers are not one step each, 1.6 for QLoRA."""
_CPU_ALLOCATOR_16_BITS, _CPU_ALLOCATOR_FUSED_16_BITS, _CPU_ALLOCATOR_PACKED = 1.5, 1.2, 1.6
_SETTINGS = {
    "method",
    "tuning",
    "task",
    "per_device_train_batch_size",
    "max_target_length",
    "grpo",
    "dpo",
}
_CPU_CHECKPOINTING_LEAVES, _CPU_CHECKPOINTING_LEAVES_PACKED = 0.18, 0.78
"""Of a step without it: its short-lived blocks leave holes. Measured 0.11 to 0.19; of QLoRA, whose layers are not
fused, 0.78."""


@dataclass(frozen=True)
class Memory:
    """Bytes. runtime: of torch and its libraries. total: all of them, at the peak. available: on the device now,
    including what this process already holds; 0 where not determined. trained: how many numbers are trained."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    runtime: int
    available: int = 0
    trained: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations + self.runtime


def count_memory(recipe: Recipe, compute: Compute, config: Any, *, longest: int | None = None) -> Memory | None:
    """What a run needs, from a transformers config alone; None for one that cannot be built without its code.

    longest: the longest row in tokens, where it is known and shorter than max_length. Raises RecipeError for target
    modules that this model does not have.
    """
    values = config.to_dict()
    if not values.get("architectures"):
        values["architectures"] = [_usual_class(config)]
    architecture, _ = recognise(values)
    if architecture is None:
        return None
    length = length_of(recipe, config, longest)
    try:
        return _count(_Case(_describe(config, recipe), config, recipe), architecture, compute, length)
    except RecipeError:
        raise
    except (RuntimeError, ValueError, ImportError) as error:  # torch's for fake tensors, transformers' for its models
        log.warning("A step of %s cannot be simulated, its memory is estimated: %r", config.model_type, error)
        return None


def rough_memory(recipe: Recipe, compute: Compute, config: Any) -> Memory:
    """From the config's numbers alone, at once; may be off by half, more often too high."""
    text = config.get_text_config()
    weights = weight_bytes(text, dtype=compute.weights)
    rows, length = recipe.per_device_train_batch_size, length_of(recipe, config)
    kept = activation_bytes(text, rows=rows, length=length, dtype=compute.dtype)
    trained = weights // 100 if recipe.tuning.has_adapter else weights // 4
    return Memory(weights, 4 * trained, 8 * trained, kept, RUNTIME_BYTES[compute.device], trained=trained)


def length_of(recipe: Recipe, config: Any, longest: int | None = None) -> int:
    """The longest sequence that the model processes, in tokens; for GRPO the prompt and the generated answer."""
    from modelforge.loading import window_of

    length = min(recipe.max_length, longest or recipe.max_length)
    if recipe.method == "grpo":
        length += recipe.grpo.max_completion_length
    return max(8, min(length, window_of(config)))


@dataclass(frozen=True)
class _Case:
    """A config and a recipe. lru_cache compares by what the memory depends on."""

    facts: str
    config: Any = field(compare=False)
    recipe: Recipe = field(compare=False)


def _describe(config: Any, recipe: Recipe) -> str:
    """All of a config and a recipe that the memory depends on; not where the model lies."""
    values = config.to_dict() | {"_name_or_path": ""}
    return json.dumps(values, default=str, sort_keys=True) + recipe.model_dump_json(include=_SETTINGS)


def _count(case: _Case, architecture: Architecture, compute: Compute, length: int) -> Memory:
    # What is decided besides changes no allocation of a step: a draft and what becomes of it are simulated once.
    same = replace(compute, reasons=(), optimizer="", workers=0)
    found = _simulate(case, architecture, same, length)
    gradients = 4 * found.trained
    # AdamW walks from matrix to matrix and needs two more like the one at hand.
    peak = max(found.peak, gradients + 2 * 4 * found.largest)
    held = peak * _allocator(compute, is_fused=found.is_fused)
    if compute.device == "cpu" and compute.gradient_checkpointing:
        plain = _simulate(case, architecture, replace(same, gradient_checkpointing=False), length)
        leaves = _CPU_CHECKPOINTING_LEAVES_PACKED if compute.quantised else _CPU_CHECKPOINTING_LEAVES
        held = peak + leaves * plain.peak
    return Memory(
        weights=found.weights,
        gradients=gradients,
        optimizer=round(found.trained * OPTIMIZER_BYTES.get(compute.optimizer, 8)),
        activations=max(round(held) - gradients, 0),
        runtime=RUNTIME_BYTES[compute.device],
        trained=found.trained,
    )


@lru_cache(maxsize=256)
def _simulate(case: _Case, architecture: Architecture, compute: Compute, length: int) -> StepBytes:
    from modelforge.planner.simulation import simulate

    rows = case.recipe.per_device_train_batch_size
    return simulate(case.config, architecture, case.recipe, compute, rows=rows, length=length)


def _allocator(compute: Compute, *, is_fused: bool) -> float:
    if compute.device == "cpu" and compute.quantised:
        return _CPU_ALLOCATOR_PACKED
    if compute.device == "cpu" and compute.dtype != "float32":
        return _CPU_ALLOCATOR_FUSED_16_BITS if is_fused else _CPU_ALLOCATOR_16_BITS
    return ALLOCATOR[compute.device]


def _usual_class(config: Any) -> str:
    """The class for a config that does not name one: for a decoder, the causal language model."""
    from transformers.models.auto import modeling_auto

    names = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    masked = modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    kind = config.model_type
    return names.get(kind, "") if kind not in masked else ""


def weight_bytes(config: Any, *, dtype: str) -> int:
    """Bytes of a decoder's frozen weights, from its config: embeddings, and in each layer attention and a gated
    feed-forward."""
    hidden, inner, layers = _widths(config)
    heads = getattr(config, "num_attention_heads", None) or 1
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    head = getattr(config, "head_dim", None) or hidden // heads
    embeddings = (getattr(config, "vocab_size", 0) or 0) * hidden
    if not getattr(config, "tie_word_embeddings", True):
        embeddings *= 2
    return (embeddings + layers * hidden * (2 * head * (heads + key_heads) + 3 * inner)) * _size(dtype)


def activation_bytes(config: Any, *, rows: int, length: int, dtype: str) -> int:
    """Bytes of the values kept for the backward pass, without checkpointing.

    Per token and layer a LoRA layer keeps its input for each of seven matrices, the outputs of the norms, and the
    attention's in- and outputs: about 14 hidden widths and 5 intermediate widths.
    """
    hidden, inner, layers = _widths(config)
    return rows * length * layers * (14 * hidden + 5 * inner) * _size(dtype)


def _widths(config: Any) -> tuple[int, int, int]:
    hidden = getattr(config, "hidden_size", 0) or 0
    return (
        hidden,
        getattr(config, "intermediate_size", None) or 4 * hidden,
        getattr(config, "num_hidden_layers", 0) or 0,
    )


def _size(dtype: str) -> int:
    return 4 if dtype == "float32" else 2
