"""Causal attention on a processor, forward and backward, as batched matrix products over blocks of queries.

torch's flash attention for processors takes a third of a training step (its backward pass computes at a sixth of the
rate of matrix products). Here each block of queries meets only the keys up to its end, heads that share a key are
one product, without copies, and the scores live for one block. Long rows have them computed again in the backward pass,
as in FlashAttention (arXiv 2205.14135); the weights of short ones may be kept.

Where rows differ in length, the longest come first, and each block has only those that go on to it.

Shapes: B rows, T tokens, K key heads, G query heads for each of them, D numbers a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import torch

from modelforge.compat.torch import softmax_backward
from modelforge.compute.kernels.use import kernels_for

BLOCK_SCORES = 1_000_000
"""Scores of a block, in all rows and heads: 4 MB in float32, small enough for a processor's cache. (On an EPYC twice as
many take 5 to 20% longer.)"""
SHORTEST_BLOCK = 64
"""Queries: blocks are multiples of it; in shorter ones the products are slow."""


class Block(NamedTuple):
    """A part of the scores: of the first `heads` of all rows, the queries from `start` on with the keys up to `end`."""

    heads: int
    start: int
    end: int


def attend(q: Any, k: Any, v: Any, lengths: Sequence[int] = (), *, keeps: bool = False) -> tuple[Any, list[Any]]:
    """The weighted values (B K, T G, D), in the order of q, and the weights of each block if they are to be kept.

    q (B K, T G, D), scaled, the heads of a group side by side at each token; k, v (B K, T, D), finite in padding too.
    lengths (B): how many tokens of each row count, the most first; empty: all. What is found for others is undefined.
    """
    out, kept = torch.empty_like(q), []
    for block, rows, weights in _weigh(q, k, lengths):
        torch.bmm(weights, v[: block.heads, : block.end], out=out[: block.heads, rows])
        if keeps:
            kept.append(weights)
    return out, kept


def attend_backward(
    grad: Any,
    q: Any,
    k: Any,
    v: Any,
    lengths: Sequence[int] = (),
    *,
    kept: Sequence[Any] = (),
    out: tuple[Any, Any, Any],
) -> None:
    """Write the gradients of q, k and v to `out`, from that of what `attend` returned, which is zero for tokens that do
    not count; all of the shapes that it takes. kept: the weights, if `attend` kept them."""
    grad_q, grad_k, grad_v = out
    grad_k.zero_()
    grad_v.zero_()
    for (heads, _, end), rows, weights in _weigh(q, k, lengths, kept):
        grad_rows = grad[:heads, rows]
        grad_v[:heads, :end].baddbmm_(weights.transpose(1, 2), grad_rows)
        grad_scores = softmax_backward(torch.bmm(grad_rows, _transpose(v[:heads, :end])), weights)
        torch.bmm(grad_scores, k[:heads, :end], out=grad_q[:heads, rows])
        grad_k[:heads, :end].baddbmm_(grad_scores.transpose(1, 2), q[:heads, rows])


def count_weights(heads: int, groups: int, length: int, lengths: Sequence[int] = ()) -> int:
    """How many numbers `attend` keeps. heads: B K; groups: G; length: T."""
    blocks = _find_blocks(heads, groups, length, lengths)
    return sum(block.heads * (block.end - block.start) * groups * block.end for block in blocks)


def _find_blocks(heads: int, groups: int, length: int, lengths: Sequence[int]) -> list[Block]:
    size = max(BLOCK_SCORES // (heads * groups * length) // SHORTEST_BLOCK, 1) * SHORTEST_BLOCK
    found = []
    for start in range(0, length, size):
        going_on = heads * sum(end > start for end in lengths) // len(lengths) if lengths else heads
        found.append(Block(going_on, start, min(start + size, length)))
    return found


def _weigh(q: Any, k: Any, lengths: Sequence[int], kept: Sequence[Any] = ()) -> Iterator[tuple[Block, slice, Any]]:
    """Each block, which rows of q it has, and its weights (heads, rows, keys), 0 where a key comes later."""
    length, groups = k.shape[1], q.shape[1] // k.shape[1]
    kernels = kernels_for(q)
    for block, weights in zip_longest(_find_blocks(len(k), groups, length, lengths), kept):
        heads, start, end = block
        rows = slice(start * groups, end * groups)
        if weights is not None:
            yield block, rows, weights
            continue
        scores = torch.bmm(q[:heads, rows], _transpose(k[:heads, :end]))
        yield block, rows, kernels.weigh(scores, start, groups)


def _transpose(part: Any) -> Any:
    """(heads, keys, D) -> (heads, D, keys). A product would copy a part of a tensor number by number to turn it."""
    return part.contiguous().transpose(1, 2)
