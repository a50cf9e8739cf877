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
    """How a run computes.

    dtype: what products are computed in (a torch dtype's name). weights: what the base model's weights are kept in;
    those that are trained are always float32, and dtype is then reached by autocast. quantised: frozen weights are
    packed into 4 bits. index: which of several cards. reasons: a sentence on each decision, for people.
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
    index: int = 0


def decide(recipe: Recipe, probe: Probe, config: Any, free_bytes: int) -> Compute:
    """Choose from what was measured. `config` is the base model's transformers config, `free_bytes` of the device."""
    dtype, dtype_reason = choose_dtype(recipe, probe)
    text_config = config.get_text_config() if hasattr(config, "get_text_config") else config
    rows, length = recipe.per_device_train_batch_size, recipe.max_length
    kept = activation_bytes(text_config, rows=rows, length=length, dtype=dtype)
    room = int(0.6 * (free_bytes - weight_bytes(text_config, dtype=dtype)))
    checkpointing, checkpointing_reason = _checkpointing(recipe, kept, room)
    return Compute(
        probe.kind,
        dtype,
        checkpointing,
        (dtype_reason, checkpointing_reason),
        weights="float32" if recipe.tuning.type == "full" else dtype,
        quantised=recipe.tuning.type == "qlora",
    )


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
