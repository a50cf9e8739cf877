"""How likely labels are by a frozen output matrix, without ever holding all logits."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import pad

from modelforge.compat.torch import FakeTensor
from modelforge.compute.fused import autocast_dtype
from modelforge.compute.kernels.use import kernels_for
from modelforge.compute.product import multiply, round_up

CHUNK_ROWS = 256  # rows of logits at once: 256 x 49,152 x 2 bytes = 25 MB in bfloat16
TOKEN_MULTIPLE = 2048
"""Tokens that have a gradient of their own are a multiple of it, or all: see `ROW_MULTIPLE`. What is added is what is
likeliest of the others."""
LEAST_SHARE = 2**-12
"""Tokens that are less likely in all of `CHUNK_ROWS` rows, about nine of ten, have one gradient in common in bfloat16,
that of the mean token. Rounding makes a larger difference (the tests compare both)."""


class LabelScores(torch.autograd.Function):
    """The log probability of each label by a frozen output matrix, without ever holding all logits.

    hidden (N, D) at the labelled positions, weight (V, D), labels (N) -> (N). The gradient for `hidden` is computed in
    the same pass over the logits, chunk by chunk, as in Cut Your Losses (arXiv 2411.09009) and Liger Kernel.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, labels: Any) -> Any:
        count, added = len(hidden), round_up(len(hidden)) - len(hidden)
        hidden, labels = pad(hidden, (0, 0, 0, added)), pad(labels, (0, added))
        grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        scores = hidden.new_empty(len(hidden), dtype=torch.promote_types(hidden.dtype, torch.float32))
        mean = _mean_row(weight) if grad is not None and _shares_gradient(weight) else None
        for rows in _chunks(len(hidden)):
            logits = multiply(hidden[rows], weight.t())  # (C, V)
            kernels = kernels_for(logits)
            if grad is None:
                scores[rows] = kernels.score_logits(logits, labels[rows], differentiates=False)
            elif mean is not None:
                scores[rows], grad[rows] = _score_likely(logits, labels[rows], weight, mean)
            else:
                scores[rows] = kernels.score_logits(logits, labels[rows], differentiates=True)
                grad[rows] = multiply(logits, weight)
        if grad is not None:
            ctx.save_for_backward(grad[:count])
        return scores[:count]

    @staticmethod
    def backward(ctx: Any, grad_scores: Any) -> Any:
        (grad,) = ctx.saved_tensors
        return grad * grad_scores[:, None].to(grad.dtype), None, None


def _shares_gradient(weight: Any) -> bool:
    """Whether unlikely tokens have one gradient in common. Of fake tensors, as the planner has them, nobody knows which
    those are."""
    return weight.dtype == torch.bfloat16 and weight.device.type == "cpu" and not isinstance(weight, FakeTensor)


def _mean_row(weight: Any) -> Any:
    """The mean of a matrix's rows (1, D), by a product: torch's `mean` takes three times as long."""
    return weight.new_full((1, len(weight)), 1 / len(weight)) @ weight


def _score_likely(logits: Any, labels: Any, weight: Any, mean: Any) -> tuple[Any, Any]:
    """The log probability of each label (N), and its gradient for what was multiplied by `weight` (N, D), from logits
    (N, V) in bfloat16. What each row gives to tokens that are unlikely in all of them, it gives to their `mean` (1, D).

    (Cut Your Losses leaves such tokens out, and with them up to a sixth of a row's probability: `docs/performance.md`.)
    """
    totals, likeliest = kernels_for(logits).find_totals(logits)
    likeliest[labels] = 1
    count = round_up(int((likeliest > LEAST_SHARE).sum()), TOKEN_MULTIPLE)
    tokens = likeliest.topk(min(count, len(likeliest)), sorted=False).indices.sort().values
    shares = logits.gather(1, tokens.expand(len(logits), -1)).float().sub_(totals)
    wanted = torch.searchsorted(tokens, labels)[:, None]
    scores = shares.gather(1, wanted)[:, 0]
    rest = 1 - shares.exp_().sum(1, keepdim=True)
    shares.neg_().scatter_add_(1, wanted, torch.ones_like(rest))
    return scores, (shares.to(weight.dtype) @ weight.index_select(0, tokens)).sub_(rest * mean)


def _chunks(count: int) -> Iterator[slice]:
    """CHUNK_ROWS of so many rows at once, and last what is left, from half of that on: each reads the whole matrix."""
    starts = range(0, max(count - CHUNK_ROWS // 2, 1), CHUNK_ROWS)
    return (slice(start, end) for start, end in pairwise((*starts, count)) if count)


def score_labels(hidden: Any, weight: Any, labels: Any) -> Any:
    """LabelScores, inside autocast in its dtype: cast once, not for each chunk."""
    dtype = autocast_dtype(hidden) or weight.dtype
    return LabelScores.apply(hidden.to(dtype), weight.to(dtype), labels)
