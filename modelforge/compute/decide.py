"""Decides how a run computes: device, dtype, attention, optimizer, checkpointing, workers, with the reasons.

Facts come from `hardware`, byte counts from the caller.
"""

from __future__ import annotations

from dataclasses import replace

from modelforge.compute.compute import Compute
from modelforge.errors import RecipeError
from modelforge.hardware import DeviceKind, Probe
from modelforge.recipe import Recipe

FASTER_BY = 1.2  # a 16-bit format must beat float32 by this factor on a processor to be worth its lost digits
COMFORTABLE = 0.8  # share of the free memory that a run may be estimated to take before memory counts as short
WORKERS_REASON = "no loader workers: rows are encoded before training, and padding a batch takes a millisecond"
OPTIMIZER_DEVICES: dict[str, tuple[DeviceKind, ...]] = {
    "adamw_torch_fused": ("cuda", "cpu"),
    "paged_adamw_8bit": ("cuda",),
}
"""Optimizers that do not run everywhere -> where they do."""


def draft(recipe: Recipe, probe: Probe) -> Compute:
    """Decide what does not depend on memory: device, number formats, attention. Without checkpointing.

    Raises RecipeError for a number format that cannot train here.
    """
    dtype, dtype_reason = choose_dtype(recipe, probe)
    attention, attention_reason = _attention(recipe, probe)
    return Compute(
        probe.kind,
        dtype,
        False,
        (dtype_reason, attention_reason),
        weights="float32" if recipe.tuning.type == "full" else dtype,
        quantised=recipe.tuning.type == "qlora",
        attention=attention,
    )


def decide(recipe: Recipe, probe: Probe, *, held_bytes: int, step_bytes: int, free_bytes: int) -> Compute:
    """Decide how a run computes.

    held_bytes: of weights and optimizer. step_bytes: what a step needs in addition, without checkpointing.
    free_bytes: of the device. Raises RecipeError for a number format or an optimizer that does not work here.
    """
    drafted = draft(recipe, probe)
    room_bytes = int(COMFORTABLE * free_bytes)
    checkpointing, checkpointing_reason = _checkpointing(recipe, step_bytes, room_bytes - held_bytes)
    is_tight = held_bytes + step_bytes > COMFORTABLE * free_bytes
    optimizer, optimizer_reason = choose_optimizer(recipe, probe.kind, tight=is_tight)
    dtype_reason, attention_reason = drafted.reasons
    reasons: tuple[str, ...] = (dtype_reason, checkpointing_reason, attention_reason, optimizer_reason, WORKERS_REASON)
    if drafted.quantised:
        reasons += ("4-bit weights: the recipe's tuning is qlora",)
    return replace(drafted, gradient_checkpointing=checkpointing, optimizer=optimizer, reasons=reasons)


def choose_optimizer(recipe: Recipe, kind: DeviceKind, *, tight: bool = False) -> tuple[str, str]:
    """An optimizer by transformers' name, and the reason. Raises RecipeError for one that the device cannot run."""
    if recipe.optim != "auto":
        if recipe.optim in OPTIMIZER_DEVICES and kind not in OPTIMIZER_DEVICES[recipe.optim]:
            raise RecipeError(
                f"{recipe.optim} does not run on this device.", where="setting optim", fix="Use auto, or adamw_torch."
            )
        return recipe.optim, f"optimizer {recipe.optim}: as the recipe says"
    if kind == "mps":
        return "adamw_torch", "optimizer adamw_torch: works on every device"
    if kind == "cuda" and tight and recipe.tuning.type != "lora":
        return "paged_adamw_8bit", "optimizer paged_adamw_8bit: memory is short here, and it needs a quarter of AdamW's"
    return "adamw_torch_fused", "optimizer adamw_torch_fused: updates the weights in one pass"


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
        return best, f"{best}: the matrix units of {probe.name} are built for it{why}"
    half, full = rates.get("bfloat16", 0.0), rates["float32"]
    if probe.kind == "cpu" and half >= FASTER_BY * full:
        return "bfloat16", f"bfloat16: measured {half / full:.1f} times as fast as float32 here"
    if probe.kind == "mps":
        return "float32", "float32: safe on Apple GPUs"
    return "float32", f"float32: {full:.0f} GFLOP/s here against {half:.0f} in bfloat16"


def _checkpointing(recipe: Recipe, kept_bytes: int, room_bytes: int) -> tuple[bool, str]:
    chosen = recipe.gradient_checkpointing
    if chosen != "auto":
        return chosen == "on", f"gradient checkpointing {chosen}: as the recipe says"
    if kept_bytes > room_bytes:
        return (
            True,
            f"gradient checkpointing on: {kept_bytes / 1e9:.1f} GB of activations do not fit beside the weights",
        )
    return False, f"gradient checkpointing off: {kept_bytes / 1e9:.1f} GB of activations fit"


def _attention(recipe: Recipe, probe: Probe) -> tuple[str, str]:
    if recipe.attn_implementation != "auto":
        return recipe.attn_implementation, f"attention {recipe.attn_implementation}: as the recipe says"
    if probe.kind == "mps":
        return "sdpa", "attention sdpa: PyTorch's own; it stores attention scores on Apple GPUs"
    return "sdpa", "attention sdpa: PyTorch's own; it does not store attention scores"
