"""Dropout on a processor, with random numbers and masks that cost a fifth, and attention that uses it.

torch draws one random number for each element, one after another on one core: 40% of a training step of BERT, whose
attention drops weights too. Here one number of 64 bits decides about four elements, with a probability that is exact
to 1 in 65,536. Each mask has its own generator, whose seed is drawn by torch's, so a run that resumes draws the same.

A mask holds whole numbers of 8 bits, all of them set where an element is kept: `and` with the bits of a number keeps it
or makes it 0, in a tenth of the time of a product with a bool, which torch first casts element by element.

Shapes: B rows, H heads, T queries, S keys, D numbers a head.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from modelforge.compat.torch import FakeTensor, replace_forward, softmax_backward
from modelforge.compat.transformers import attention_of
from modelforge.compute.tune import unwrap

ATTENTION = "modelforge_dropout"
MOST_SCORES = 2**20
"""Scores at once: 2 MB in bfloat16 stay in the processor's cache, and short rows are computed side by side."""
_WORD, _WORDS_A_DRAW = 2**16, 4
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes


def draw_kept(shape: Any, p: float) -> Any:
    """Which elements are kept, each with probability 1 - p: int8 of that shape, -1 where kept, else 0."""
    count = math.prod(shape)
    words = _draw_words(math.ceil(count / _WORDS_A_DRAW)).view(torch.int16)[:count]
    return words.ge_(round(p * _WORD) - _WORD // 2).to(torch.int8).neg_().view(shape)


def _draw_words(count: int) -> Any:
    """Random bits: int64 (count)."""
    seed = torch.empty((), dtype=torch.int64).random_()
    if isinstance(seed, FakeTensor):
        return torch.empty(count, dtype=torch.int64)
    return torch.from_numpy(np.random.SFC64(seed.item()).random_raw(count).view(np.int64))


def keep(x: Any, kept: Any) -> Any:
    """x, with zeros written where an element is not kept."""
    x.view(_INTEGERS[x.dtype.itemsize]).bitwise_and_(kept)
    return x


class Dropout(torch.autograd.Function):
    """x with each element dropped with probability p, the others scaled by 1 / (1 - p)."""

    @staticmethod
    def forward(ctx: Any, x: Any, p: float) -> Any:
        kept = draw_kept(x.shape, p)
        ctx.save_for_backward(kept)
        ctx.scale = 1 / (1 - p)
        return keep(x * ctx.scale, kept)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (kept,) = ctx.saved_tensors
        return keep(grad * ctx.scale, kept), None


class MaskedAttention(torch.autograd.Function):
    """softmax(scaling q k' + bias) where the mask is true, of which a share of p is dropped, times v.

    q (B, H, T, D), k and v (B, H, S, D), contiguous; bias, numbers (1 or B, 1 or H, T, S), and mask, bool (1 or B, 1 or
    H, T, S), or None -> (B, H, T, D). The scores of a few rows of the batch live at a time; they are computed again in
    the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any, bias: Any, mask: Any, scaling: float, p: float) -> Any:  # noqa: PLR0917
        kept = draw_kept((*q.shape[:3], k.shape[2]), p) if p else None
        q = q if scaling == 1 else q * scaling
        ctx.save_for_backward(q, k, v, bias, mask, kept)
        ctx.scaling, ctx.scale = scaling, 1 / (1 - p)
        out = torch.empty_like(q)
        low_bias = None if bias is None else bias.to(q.dtype).contiguous()
        with torch.autocast("cpu", enabled=False):
            for rows in _split_rows(q, k):
                weights = _find_weights(q, k, low_bias, mask, rows)
                if kept is not None:
                    keep(weights, _join(kept, rows))
                torch.bmm(weights, _join(v, rows), out=_join(out, rows))
        return out if kept is None else out.mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        q, k, v, bias, mask, kept = ctx.saved_tensors
        grad = grad.contiguous() if kept is None else torch.mul(grad.contiguous(), ctx.scale)
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        grad_bias = bias.new_zeros(bias.shape) if ctx.needs_input_grad[3] else None
        low_bias = None if bias is None else bias.to(q.dtype).contiguous()
        for rows in _split_rows(q, k):
            of_q, of_k, of_v, of_grad = (_join(part, rows) for part in (q, k, v, grad))
            weights = _find_weights(q, k, low_bias, mask, rows)
            grad_weights = torch.bmm(of_grad, of_v.transpose(1, 2))
            dropped = weights
            if kept is not None:
                dropped = keep(weights.clone(), _join(kept, rows))
                keep(grad_weights, _join(kept, rows))
            torch.bmm(dropped.transpose(1, 2), of_grad, out=_join(grad_v, rows))
            grad_scores = softmax_backward(grad_weights, weights)
            if grad_bias is not None:
                of_bias = _rows_of(grad_bias, rows)
                of_bias += grad_scores.view(-1, *q.shape[1:3], k.shape[2]).sum_to_size(of_bias.shape)
            torch.bmm(grad_scores, of_k, out=_join(grad_q, rows))
            torch.bmm(grad_scores.transpose(1, 2), of_q, out=_join(grad_k, rows))
        return grad_q.mul_(ctx.scaling), grad_k, grad_v, grad_bias, None, None, None


def _split_rows(q: Any, k: Any) -> list[slice]:
    """Which rows of the batch are computed together."""
    size = max(MOST_SCORES // (q.shape[1] * q.shape[2] * k.shape[2]), 1)
    return [slice(start, start + size) for start in range(0, len(q), size)]


def _join(x: Any, rows: slice) -> Any:
    """(B, H, ...) -> (heads of those rows, ...), a view."""
    return x[rows].flatten(0, 1)


def _rows_of(added: Any, rows: slice) -> Any:
    """(1 or B, ...) -> (1 or rows, ...), a view."""
    return added[rows] if len(added) > 1 else added


def _find_weights(q: Any, k: Any, bias: Any, mask: Any, rows: slice) -> Any:
    """Of the heads of some rows of the batch (N, T, S)."""
    of_q, of_k = _join(q, rows), _join(k, rows)
    added = None if bias is None else _rows_of(bias, rows)
    if mask is not None:  # of true nothing is added, of false the least number
        least = (_rows_of(mask, rows).view(torch.int8) - 1).to(q.dtype).mul_(torch.finfo(q.dtype).max)
        added = least if added is None else added + least
    if added is None:
        return torch.softmax(torch.bmm(of_q, of_k.transpose(1, 2)), -1)
    added = added.expand(len(q[rows]), *q.shape[1:3], k.shape[2]).flatten(0, 1)
    return torch.softmax(torch.baddbmm(added, of_q, of_k.transpose(1, 2)), -1)


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
    if is_causal:
        mask = torch.ones(1, 1, query.shape[2], key.shape[2], dtype=torch.bool).tril_()
    if mask is not None and mask.dtype != torch.bool:
        position_bias, mask = mask if position_bias is None else position_bias + mask, None
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    given = (part.contiguous() for part in (query, key, value))
    return MaskedAttention.apply(*given, position_bias, mask, scaling, dropout).transpose(1, 2).contiguous(), None


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
