"""Dropout on a processor, with random numbers that cost a quarter, and attention that uses it.

torch draws one random number for each element, one after another on one core: 40% of a training step of BERT, whose
attention drops weights too. Here one number of 64 bits decides about four elements, with a probability that is exact
to 1 in 65,536. The numbers are torch's own, so a run that resumes draws the same ones.

Shapes: B rows, H heads, T queries, S keys, D numbers a head.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import transformers
from torch import nn
from transformers.integrations.sdpa_attention import create_position_bias_mask, repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from modelforge.compat.torch import replace_forward, softmax_backward
from modelforge.compat.transformers import attention_of
from modelforge.compute.tune import unwrap

ATTENTION = "modelforge_dropout"
_WORD, _WORDS_A_DRAW = 2**16, 4


def draw_kept(shape: Any, p: float) -> Any:
    """Which elements are kept, each with probability 1 - p: bool of that shape."""
    count = math.prod(shape)
    drawn = torch.empty(math.ceil(count / _WORDS_A_DRAW), dtype=torch.int64).random_(-(2**63), None)
    return (drawn.view(torch.int16)[:count] >= round(p * _WORD) - _WORD // 2).view(shape)


class Dropout(torch.autograd.Function):
    """x with each element dropped with probability p, the others scaled by 1 / (1 - p)."""

    @staticmethod
    def forward(ctx: Any, x: Any, p: float) -> Any:
        kept = draw_kept(x.shape, p)
        ctx.save_for_backward(kept)
        ctx.scale = 1 / (1 - p)
        return (x * kept).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (kept,) = ctx.saved_tensors
        return (grad * kept).mul_(ctx.scale), None


class MaskedAttention(torch.autograd.Function):
    """softmax(scaling q k' + mask), of which a share of p is dropped, times v.

    q (B, H, T, D), k and v (B, H, S, D), mask (1 or B, 1 or H, T, S): bool, or numbers to be added, -> (B, H, T, D).
    The scores of one row of the batch live at a time; they are computed again in the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any, mask: Any, scaling: float, p: float) -> Any:  # noqa: PLR0917
        kept = draw_kept((*q.shape[:3], k.shape[2]), p) if p else None
        ctx.save_for_backward(q, k, v, mask, kept)
        ctx.scaling, ctx.scale = scaling, 1 / (1 - p)
        out = torch.empty_like(q)
        with torch.autocast("cpu", enabled=False):
            for row in range(len(q)):
                weights = _find_weights(q[row], k[row], _row_of(mask, row), scaling)
                if kept is not None:
                    weights.mul_(kept[row]).mul_(ctx.scale)
                torch.bmm(weights, v[row], out=out[row])
        return out

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        q, k, v, mask, kept = ctx.saved_tensors
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        grad_mask = torch.zeros_like(mask) if ctx.needs_input_grad[3] else None
        for row in range(len(q)):
            weights = _find_weights(q[row], k[row], _row_of(mask, row), ctx.scaling)
            grad_weights = torch.bmm(grad[row], v[row].transpose(1, 2))
            dropped = weights
            if kept is not None:
                dropped = (weights * kept[row]).mul_(ctx.scale)
                grad_weights.mul_(kept[row]).mul_(ctx.scale)
            torch.bmm(dropped.transpose(1, 2), grad[row], out=grad_v[row])
            grad_scores = softmax_backward(grad_weights, weights)
            if grad_mask is not None:
                of_row = _row_of(grad_mask, row)
                of_row += grad_scores if len(of_row) > 1 else grad_scores.sum(0, keepdim=True)
            torch.bmm(grad_scores, k[row], out=grad_q[row])
            torch.bmm(grad_scores.transpose(1, 2), q[row], out=grad_k[row])
        return grad_q.mul_(ctx.scaling), grad_k.mul_(ctx.scaling), grad_v, grad_mask, None, None


def _row_of(mask: Any, row: int) -> Any:
    """(1 or H, T, S)"""
    return None if mask is None else mask[row if len(mask) > 1 else 0]


def _find_weights(q: Any, k: Any, mask: Any, scaling: float) -> Any:
    """Of one row of the batch: (H, T, S)."""
    scores = torch.bmm(q, k.transpose(1, 2)).mul_(scaling)
    if mask is not None and mask.dtype == torch.bool:
        scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)
    elif mask is not None:
        scores += mask
    return torch.softmax(scores, -1)


def attend(  # noqa: PLR0917 - transformers' order
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: Any = None,
    **more: Any,
) -> tuple[Any, None]:
    """As `sdpa_attention_forward` of transformers, which computes what has no gradient or is causal without dropout."""
    is_causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    is_causal = bool(is_causal) and mask is None and query.shape[2] > 1
    if not torch.is_grad_enabled() or (is_causal and not dropout) or query.shape[-1] != value.shape[-1]:
        named = {"dropout": dropout, "scaling": scaling, "is_causal": is_causal, "position_bias": position_bias, **more}
        return sdpa_attention_forward(module, query, key, value, mask, **named)  # type: ignore[no-any-return]
    groups = getattr(module, "num_key_value_groups", 1)
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    if position_bias is not None:
        mask = create_position_bias_mask(position_bias, mask, is_causal, query, key)
    elif is_causal:
        mask = torch.ones(1, 1, query.shape[2], key.shape[2], dtype=torch.bool).tril_()
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    given = (part.contiguous() for part in (query, key, value))
    return MaskedAttention.apply(*given, mask, scaling, dropout).transpose(1, 2).contiguous(), None


transformers.AttentionInterface.register(ATTENTION, attend)
transformers.AttentionMaskInterface.register(ATTENTION, sdpa_mask)


@contextlib.contextmanager
def fused_dropout(model: Any, device: str) -> Iterator[int]:
    """Let a model with dropout on a processor drop by `Dropout` and attend by `attend` for a while; yields how many
    parts drop."""
    parts = [part for part in model.modules() if type(part) is nn.Dropout and 0 < part.p < 1 and device == "cpu"]
    whole = unwrap(model)
    is_changed = bool(parts) and attention_of(whole) == "sdpa"
    if is_changed:
        whole.set_attn_implementation(ATTENTION)
    try:
        with replace_forward({part: _dropout_forward(part) for part in parts}):
            yield len(parts)
    finally:
        if is_changed:
            whole.set_attn_implementation("sdpa")


def _dropout_forward(part: Any) -> Callable[[Any], Any]:
    return lambda x: Dropout.apply(x, part.p) if part.training else x
