"""The kernels in torch, for every device and number format.

Shapes: N tokens, D the hidden size, F the inner size of an MLP, H query heads, K key heads, d numbers a head, V tokens
of the vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from modelforge.compat.torch import silu_backward

CACHED_LOGITS = 1_000_000
"""Numbers that are worked on at once, so that all passes over them but the first are in the processor's cache: 4 MB in
float32."""
Turns = tuple[tuple[Any, Any], tuple[Any, Any]]
"""The cosines and sines (N, 1, d) of each token's position, for q and for k."""


def normalise(norm: Any, rows: Any, out: Any) -> Any:
    """Write the root mean square norm of rows (N, D), computed in float32 at least, to `out` (N, D); what it multiplied
    each row by (N, 1)."""
    exact = torch.promote_types(rows.dtype, torch.float32)
    lengths = torch.linalg.vector_norm(rows, dim=-1, keepdim=True, dtype=exact)
    scale = (lengths.square_().div_(rows.shape[-1])).add_(norm.variance_epsilon).rsqrt_()
    torch.mul(rows * scale, norm.weight, out=out)
    return scale


def add_norm_gradient(norm: tuple[Any, Any], grad: Any, rows: Any, passed: Any) -> Any:
    """The gradient of rows (N, D) that go through a norm, and past it: from that of the normed rows (N, D), which may
    be overwritten, and `passed` (N, D). norm: what it multiplied rows (N, 1) and columns (D) by."""
    scale, weight = norm
    grad = grad.mul_(weight.to(grad.dtype))
    dot = (grad * rows).sum(-1, keepdim=True, dtype=scale.dtype)
    along = (scale.pow(3) * dot).div_(-rows.shape[-1]).to(rows.dtype)
    return torch.addcmul(passed, grad, scale.to(grad.dtype)).addcmul_(rows, along)


def open_gate(gate_up: Any, out: Any) -> Any:
    """Write silu(gate) * up (N, F) to `out`, from both (N, 2 F). Returns what `gate_gradient` needs again."""
    gate, up = gate_up.chunk(2, -1)
    opened = functional.silu(gate)
    torch.mul(opened, up, out=out)
    return opened


def gate_gradient(grad: Any, gate_up: Any, opened: Any) -> Any:
    """The gradient of both (N, 2 F), from that of silu(gate) * up (N, F), which may be overwritten. opened: as
    `open_gate` returned it."""
    gate, up = gate_up.chunk(2, -1)
    found = torch.empty_like(gate_up)
    of_gate, of_up = found.chunk(2, -1)
    torch.mul(grad, opened, out=of_up)
    silu_backward(grad.mul_(up), gate, of_gate)
    return found


def turn_heads(heads: Any, index: Any, turns: Turns, counts: tuple[int, int], *, back: bool = False) -> Any:
    """Some of the heads (.., d), in the order of `index`, those of q and k turned to the positions of their tokens.

    counts: H and K; a token has H heads of q, K of k and K of v. back: turned back instead, for gradients: a rotation's
    transpose. Then what is found, not what is given, is in the order of tokens."""
    queries, keys = counts
    size = turns[0][0].shape[-1]
    heads = heads.reshape(-1, size)
    tokens = (heads.index_select(0, index) if back else heads).view(-1, queries + 2 * keys, size)
    turned = torch.empty_like(tokens)
    for part, (cos, sin) in zip((slice(queries), slice(queries, -keys)), turns, strict=True):
        _rotate(tokens[:, part], cos, sin, turned[:, part], sign=-1 if back else 1)
    turned[:, -keys:] = tokens[:, -keys:]
    turned = turned.view(-1, size)
    return turned if back else turned.index_select(0, index)


def add_rows(matrix: Any, to: Any, rows: Any) -> None:
    """Add some rows of a matrix to others, no two to the same one. to, rows: their numbers (M)."""
    matrix.index_copy_(0, to, matrix.index_select(0, to).add_(matrix.index_select(0, rows)))


def weigh(scores: Any, start: int, groups: int) -> Any:
    """The weights of attention, from scores (heads, queries * groups, keys), which may be overwritten: their softmax,
    0 where a key comes later than the query. start: the first query's position."""
    count = scores.shape[1] // groups
    later = scores.new_full((count, count), float("-inf")).triu_(1)[:, None]
    scores.view(len(scores), count, groups, -1)[..., start:] += later
    return torch.softmax(scores, -1)


def find_totals(logits: Any) -> tuple[Any, Any]:
    """Of logits (N, V) the logarithm of each row's sum of exponentials (N, 1), and the highest probability that each
    token has in any row (V), both in float32."""
    totals = logits.new_empty(len(logits), 1, dtype=torch.float32)
    likeliest = logits.new_zeros(logits.shape[1], dtype=torch.float32)
    few = max(CACHED_LOGITS // logits.shape[1], 1)
    for low, total in zip(logits.split(few), totals.split(few), strict=True):
        part = low.float()
        highest = part.amax(1, keepdim=True)
        normaliser = part.sub_(highest).exp_().sum(1, keepdim=True)
        torch.maximum(likeliest, part.div_(normaliser).amax(0), out=likeliest)
        torch.add(highest, normaliser.log_(), out=total)
    return totals, likeliest


def score_logits(logits: Any, labels: Any, *, differentiates: bool) -> Any:
    """The log probability of each label, in float32 at least: logits (N, V), which are overwritten, labels (N) -> (N).
    differentiates: the logits become the gradient of it."""
    exact = torch.promote_types(logits.dtype, torch.float32)
    scores = logits.new_empty(len(logits), dtype=exact)
    few = max(CACHED_LOGITS // logits.shape[1], 1)
    parts = (part.split(few) for part in (logits, labels[:, None], scores))
    for low, wanted, found in zip(*parts, strict=True):
        part = low.to(exact)
        right = part.gather(1, wanted)
        highest = part.amax(1, keepdim=True)
        part.sub_(highest).exp_()
        normaliser = part.sum(1, keepdim=True)
        found.copy_((right - highest - normaliser.log())[:, 0])
        if differentiates:  # of the label: 1; of every logit: minus its share
            part.div_(normaliser).neg_()
            low.copy_(part.scatter_add_(1, wanted, torch.ones_like(right)))
    return scores


def _rotate(x: Any, cos: Any, sin: Any, out: Any, *, sign: int) -> None:
    """Rotary positions (arXiv 2104.09864), as Llama pairs the numbers: x (..., d), the first half with the second."""
    half = x.shape[-1] // 2
    torch.mul(x, cos, out=out)
    out[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-sign)
    out[..., half:].addcmul_(x[..., :half], sin[..., half:], value=sign)
