"""What to use of what was probed: device, dtype, gradient checkpointing. Pure decisions, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelforge.errors import RecipeError
from modelforge.hardware import DeviceKind, Probe
from modelforge.recipe import Recipe

FASTER_BY = 1.2  # a 16-bit format must beat float32 by this factor on a processor to be worth its lost digits


@dataclass(frozen=True)
class Compute:
    """How a run computes. dtype is the frozen weights' (a torch dtype's name); adapters are always float32."""

    device: DeviceKind
    dtype: str
    gradient_checkpointing: bool
    reasons: tuple[str, ...]


def decide(recipe: Recipe, probe: Probe, config: Any, free_bytes: int) -> Compute:
    """Choose from what was measured. `config` is the base model's transformers config, `free_bytes` of the device."""
    dtype, dtype_reason = choose_dtype(recipe, probe)
    checkpointing, checkpointing_reason = _checkpointing(recipe, config, dtype, free_bytes)
    return Compute(probe.kind, dtype, checkpointing, (dtype_reason, checkpointing_reason))


def choose_dtype(recipe: Recipe, probe: Probe) -> tuple[str, str]:
    """A torch dtype's name and the reason. Raises RecipeError for one that does not train well here."""
    rates = probe.gigaflops
    if recipe.dtype != "auto":
        if recipe.dtype not in rates:
            raise RecipeError(
                f"{recipe.dtype} does not train well on {probe.name}.",
                where="setting dtype",
                fix=f"Use auto, or one of: {', '.join(rates)}.",
            )
        return recipe.dtype, f"{recipe.dtype}: as the recipe says"
    if probe.kind == "cuda":
        best = "bfloat16" if "bfloat16" in rates else "float16"
        why = "" if best == "bfloat16" else " (this card has no bfloat16)"
        return best, f"{best}: the matrix units of {probe.name} are made for it{why}"
    half, full = rates.get("bfloat16", 0.0), rates["float32"]
    if probe.kind == "cpu" and half >= FASTER_BY * full:
        return "bfloat16", f"bfloat16: measured {half / full:.1f} times as fast as float32 here"
    if probe.kind == "mps":
        return "float32", "float32: safe on Apple GPUs"
    return "float32", f"float32: {full:.0f} GFLOP/s here against {half:.0f} in bfloat16"


def activation_bytes(config: Any, *, rows: int, length: int, dtype: str) -> int:
    """About what the values kept for the backward pass take, without checkpointing.

    Per token and layer a LoRA layer keeps its input for each of seven matrices, the outputs of the norms, and the
    attention's in- and outputs: about 14 hidden widths and 5 intermediate widths.
    """
    size = 4 if dtype == "float32" else 2
    hidden = getattr(config, "hidden_size", 0) or 0
    inner = getattr(config, "intermediate_size", None) or 4 * hidden
    layers = getattr(config, "num_hidden_layers", 0) or 0
    return int(rows * length * layers * (14 * hidden + 5 * inner) * size)


def _checkpointing(recipe: Recipe, config: Any, dtype: str, free_bytes: int) -> tuple[bool, str]:
    if recipe.gradient_checkpointing != "auto":
        return (
            recipe.gradient_checkpointing == "on",
            f"gradient checkpointing {recipe.gradient_checkpointing}: as the recipe says",
        )
    text_config = config.get_text_config() if hasattr(config, "get_text_config") else config
    needed = activation_bytes(
        text_config, rows=recipe.per_device_train_batch_size, length=recipe.max_length, dtype=dtype
    )
    if needed > 0.6 * free_bytes:
        return True, f"gradient checkpointing on: {needed / 1e9:.1f} GB of activations do not fit beside the weights"
    return False, f"gradient checkpointing off: {needed / 1e9:.1f} GB of activations fit"
