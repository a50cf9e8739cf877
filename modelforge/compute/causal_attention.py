"""Causal attention on a processor, forward and backward, as batched matrix products over blocks of queries.

torch's flash attention for processors takes a third of a training step (its backward pass computes at a sixth of the
rate of matrix products). Here each block of queries meets only the keys up to its end, heads that share a key are
one product, without copies, and the scores live for one block: they are computed again in the backward pass, as in
FlashAttention (arXiv 2205.14135).

Shapes: B rows, T tokens, K key heads, G query heads for each of them, D numbers a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from modelforge.compat.torch import softmax_backward

BLOCK_SCORES = 1_000_000
"""Scores of a block, in all rows and heads: 4 MB in float32, small enough for a processor's cache. (On an EPYC twice as
many take 5 to 20% longer.)"""
SHORTEST_BLOCK = 64
"""Queries: blocks are multiples of it; in shorter ones the products are slow."""


def attend(q: Any, k: Any, v: Any) -> Any:
    """The weighted values (B K, T G, D), in the order of q.

    q (B K, T G, D), scaled, the heads of a group side by side at each token; k, v (B K, T, D).
    """
    groups = q.shape[1] // k.shape[1]
    out = torch.empty_like(q)
    for rows, keys, scores in _score_blocks(q, k, groups):
        torch.bmm(torch.softmax(scores, -1), v[:, :keys], out=out[:, rows])
    return out


def attend_backward(grad: Any, q: Any, k: Any, v: Any) -> tuple[Any, Any, Any]:
    """The gradients of q, k and v, from that of what `attend` returned; all of the shapes that it takes."""
    groups = q.shape[1] // k.shape[1]
    grad_q, grad_k, grad_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
    for rows, keys, scores in _score_blocks(q, k, groups):
        weights = torch.softmax(scores, -1)
        grad_rows = grad[:, rows]
        grad_v[:, :keys].baddbmm_(weights.transpose(1, 2), grad_rows)
        grad_scores = softmax_backward(torch.bmm(grad_rows, v[:, :keys].transpose(1, 2)), weights)
        torch.bmm(grad_scores, k[:, :keys], out=grad_q[:, rows])
        grad_k[:, :keys].baddbmm_(grad_scores.transpose(1, 2), q[:, rows])
    return grad_q, grad_k, grad_v


def _score_blocks(q: Any, k: Any, groups: int) -> Iterator[tuple[slice, int, Any]]:
    """Which rows of q, up to which key, and their scores (B K, rows, keys), with -inf where a key comes later."""
    heads, length = k.shape[0], k.shape[1]
    block = max(BLOCK_SCORES // (heads * groups * length) // SHORTEST_BLOCK, 1) * SHORTEST_BLOCK
    block = min(block, length)
    later = q.new_full((block, block), float("-inf")).triu_(1)[:, None]  # (block, 1, block)
    for start in range(0, length, block):
        keys = min(start + block, length)
        count = keys - start
        rows = slice(start * groups, keys * groups)
        scores = torch.bmm(q[:, rows], k[:, :keys].transpose(1, 2))
        scores.view(heads, count, groups, keys)[..., start:] += later[:count, :, :count]
        yield rows, keys, scores
