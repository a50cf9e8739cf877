"""Causal attention on a processor, forward and backward, as batched matrix products over blocks of queries.

torch's flash attention for processors takes a third of a training step (its backward pass computes at a sixth of the
rate of matrix products). Here each block of queries meets only the keys up to its end, heads that share a key are
one product, without copies, and the scores live for one block: they are computed again in the backward pass, as in
FlashAttention (arXiv 2205.14135).

Where rows differ in length, the longest come first, and each block has only those that go on to it.

Shapes: B rows, T tokens, K key heads, G query heads for each of them, D numbers a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from modelforge.compat.torch import softmax_backward

BLOCK_SCORES = 1_000_000
"""Scores of a block, in all rows and heads: 4 MB in float32, small enough for a processor's cache. (On an EPYC twice as
many take 5 to 20% longer.)"""
SHORTEST_BLOCK = 64
"""Queries: blocks are multiples of it; in shorter ones the products are slow."""


def attend(q: Any, k: Any, v: Any, lengths: Sequence[int] = ()) -> Any:
    """The weighted values (B K, T G, D), in the order of q.

    q (B K, T G, D), scaled, the heads of a group side by side at each token; k, v (B K, T, D), finite in padding too.
    lengths (B): how many tokens of each row count, the most first; empty: all. What is found for others is undefined.
    """
    out = torch.empty_like(q)
    for heads, rows, keys, scores in _score_blocks(q, k, lengths):
        torch.bmm(torch.softmax(scores, -1), v[:heads, :keys], out=out[:heads, rows])
    return out


def attend_backward(
    grad: Any, q: Any, k: Any, v: Any, lengths: Sequence[int] = (), *, out: tuple[Any, Any, Any]
) -> None:
    """Write the gradients of q, k and v to `out`, from that of what `attend` returned, which is zero for tokens that do
    not count; all of the shapes that it takes."""
    grad_q, grad_k, grad_v = out
    grad_k.zero_()
    grad_v.zero_()
    for heads, rows, keys, scores in _score_blocks(q, k, lengths):
        weights = torch.softmax(scores, -1)
        grad_rows = grad[:heads, rows]
        grad_v[:heads, :keys].baddbmm_(weights.transpose(1, 2), grad_rows)
        grad_scores = softmax_backward(torch.bmm(grad_rows, _transpose(v[:heads, :keys])), weights)
        torch.bmm(grad_scores, k[:heads, :keys], out=grad_q[:heads, rows])
        grad_k[:heads, :keys].baddbmm_(grad_scores.transpose(1, 2), q[:heads, rows])


def _score_blocks(q: Any, k: Any, lengths: Sequence[int]) -> Iterator[tuple[int, slice, int, Any]]:
    """How many heads of all rows, which rows of their q, up to which key, and their scores (heads, rows, keys), with
    -inf where a key comes later."""
    length, groups = k.shape[1], q.shape[1] // k.shape[1]
    block = max(BLOCK_SCORES // (len(k) * groups * length) // SHORTEST_BLOCK, 1) * SHORTEST_BLOCK
    block = min(block, length)
    later = q.new_full((block, block), float("-inf")).triu_(1)[:, None]  # (block, 1, block)
    for start in range(0, length, block):
        heads = len(k) * sum(end > start for end in lengths) // len(lengths) if lengths else len(k)
        keys = min(start + block, length)
        count = keys - start
        rows = slice(start * groups, keys * groups)
        scores = torch.bmm(q[:heads, rows], _transpose(k[:heads, :keys]))
        scores.view(heads, count, groups, keys)[..., start:] += later[:count, :, :count]
        yield heads, rows, keys, scores


def _transpose(part: Any) -> Any:
    """(heads, keys, D) -> (heads, D, keys). A product would copy a part of a tensor number by number to turn it."""
    return part.contiguous().transpose(1, 2)
