"""A rough size of a model from the numbers in its config alone. May be off by half, more often too high."""

from __future__ import annotations

from typing import Any


def weight_bytes(config: Any, *, dtype: str) -> int:
    """Bytes of a decoder's frozen weights: embeddings, and in each layer attention and a gated feed-forward."""
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
