"""What to use of what was probed: device, dtype, attention, optimizer, checkpointing, workers. Decisions, each with its
reason; facts come from `hardware`, bytes from the planner."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from modelforge.errors import RecipeError
from modelforge.hardware import DeviceKind, Probe
from modelforge.recipe import Recipe

FASTER_BY = 1.2  # a 16-bit format must beat float32 by this factor on a processor to be worth its lost digits
COMFORTABLE = 0.8  # share of the free memory that a run may be reckoned to take before memory counts as short
WORKERS_REASON = "no loader workers: rows are encoded before training, and a batch is padded in a millisecond"
OPTIMIZER_DEVICES: dict[str, tuple[DeviceKind, ...]] = {"adamw_torch_fused": ("cuda",), "paged_adamw_8bit": ("cuda",)}
"""Optimizers that do not run everywhere -> where they do."""


@dataclass(frozen=True)
class Compute:
    """How a run computes.

    dtype: what products are computed in (a torch dtype's name). weights: what the base model's weights are kept in;
    those that are trained are always float32, and dtype is then reached by autocast. quantised: frozen weights are
    packed into 4 bits. reasons: a sentence on each decision, for people.
    """

    device: DeviceKind
    dtype: str
    gradient_checkpointing: bool
    reasons: tuple[str, ...]
    weights: str = "float32"
    quantised: bool = False
    attention: str = "sdpa"
    optimizer: str = "adamw_torch"
    workers: int = 0


def decide(recipe: Recipe, probe: Probe, config: Any, free_bytes: int, *, longest: int | None = None) -> Compute:
    """Choose from what was measured. `config` is the base model's transformers config, `free_bytes` of the device,
    `longest` the tokens of the longest row, where that is known.

    Raises RecipeError for a number format or an optimizer that does not train here.
    """
    dtype, dtype_reason = choose_dtype(recipe, probe)
    quantised = recipe.tuning.type == "qlora"
    attention, attention_reason = _attention(recipe, probe)
    plain = Compute(
        probe.kind,
        dtype,
        False,
        (),
        weights="float32" if recipe.tuning.type == "full" else dtype,
        quantised=quantised,
        attention=attention,
    )
    held, kept = _held_bytes(recipe, plain, config, longest)
    checkpointing, checkpointing_reason = _checkpointing(recipe, kept, int(COMFORTABLE * free_bytes) - held)
    optimizer, optimizer_reason = choose_optimizer(recipe, probe.kind, tight=held + kept > COMFORTABLE * free_bytes)
    reasons: tuple[str, ...] = (dtype_reason, checkpointing_reason, attention_reason, optimizer_reason, WORKERS_REASON)
    if quantised:
        reasons += ("4-bit weights: the recipe's tuning is qlora",)
    return replace(plain, gradient_checkpointing=checkpointing, optimizer=optimizer, reasons=reasons)


def choose_optimizer(recipe: Recipe, kind: DeviceKind, *, tight: bool = False) -> tuple[str, str]:
    """An optimizer by transformers' name, and the reason. Raises RecipeError for one that the device cannot run."""
    if recipe.optim != "auto":
        if recipe.optim in OPTIMIZER_DEVICES and kind not in OPTIMIZER_DEVICES[recipe.optim]:
            raise RecipeError(
                f"{recipe.optim} needs an NVIDIA card.", where="setting optim", fix="Use auto, or adamw_torch."
            )
        return recipe.optim, f"optimizer {recipe.optim}: as the recipe says"
    if kind != "cuda":
        return "adamw_torch", "optimizer adamw_torch: the one that every device has"
    if tight and recipe.tuning.type != "lora":
        return "paged_adamw_8bit", "optimizer paged_adamw_8bit: a quarter of AdamW's memory, which is short here"
    return "adamw_torch_fused", "optimizer adamw_torch_fused: AdamW in one pass over the weights"


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


def weight_bytes(config: Any, *, dtype: str) -> int:
    """About what a decoder's frozen weights take: embeddings, and in each layer attention and a gated feed-forward."""
    hidden, inner, layers = _widths(config)
    heads = getattr(config, "num_attention_heads", None) or 1
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    head = getattr(config, "head_dim", None) or hidden // heads
    embeddings = (getattr(config, "vocab_size", 0) or 0) * hidden
    if not getattr(config, "tie_word_embeddings", True):
        embeddings *= 2
    return (embeddings + layers * hidden * (2 * head * (heads + key_heads) + 3 * inner)) * _size(dtype)


def activation_bytes(config: Any, *, rows: int, length: int, dtype: str) -> int:
    """About what the values kept for the backward pass take, without checkpointing.

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
        return "sdpa", "attention sdpa: torch's own, which keeps its scores on Apple GPUs"
    return "sdpa", "attention sdpa: torch's own, which keeps no scores"


def _held_bytes(recipe: Recipe, compute: Compute, config: Any, longest: int | None) -> tuple[int, int]:
    """(weights and optimizer, what a step holds beside them), without checkpointing: counted, else reckoned."""
    from modelforge.planner.memory import estimate

    found = estimate(recipe, compute, config, longest=longest)
    if found is not None:
        return found.weights + found.optimizer, found.gradients + found.activations
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    kept = activation_bytes(
        text, rows=recipe.per_device_train_batch_size, length=recipe.max_length, dtype=compute.dtype
    )
    return weight_bytes(text, dtype=compute.weights), kept
