"""How likely labels are by a frozen output matrix, without ever holding all logits."""

from __future__ import annotations

import math
from typing import Any

import torch

from modelforge.compat.torch import FakeTensor
from modelforge.compute.fused import autocast_dtype
from modelforge.compute.product import multiply

CHUNK_ROWS = 256  # rows of logits at once: 256 x 49,152 x 2 bytes = 25 MB in bfloat16
CACHED_LOGITS = 1_000_000  # 4 MB in float32 stay in the processor's cache
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
        grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        scores = hidden.new_empty(len(hidden), dtype=torch.promote_types(hidden.dtype, torch.float32))
        mean = _mean_row(weight) if grad is not None and _shares_gradient(weight) else None
        size = _chunk_size(len(hidden))
        for start in range(0, len(hidden), size):
            rows = slice(start, start + size)
            logits = multiply(hidden[rows], weight.t())  # (C, V)
            if grad is None:
                scores[rows] = score_logits(logits, labels[rows], differentiates=False)
            elif mean is not None:
                scores[rows], grad[rows] = _score_likely(logits, labels[rows], weight, mean)
            else:
                scores[rows] = score_logits(logits, labels[rows], differentiates=True)
                grad[rows] = multiply(logits, weight)
        if grad is not None:
            ctx.save_for_backward(grad)
        return scores

    @staticmethod
    def backward(ctx: Any, grad_scores: Any) -> Any:
        (grad,) = ctx.saved_tensors
        return grad * grad_scores[:, None].to(grad.dtype), None, None


def score_logits(logits: Any, labels: Any, *, differentiates: bool) -> Any:
    """The log probability of each label, in float32 at least: logits (N, V), which are overwritten, labels (N) -> (N).
    differentiates: the logits become the gradient of it. Few rows at a time, so that all passes over them but the first
    are in the processor's cache."""
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
    totals = logits.new_empty(len(logits), 1, dtype=torch.float32)  # the logarithm of the sum of exponentials
    likeliest = logits.new_zeros(logits.shape[1], dtype=torch.float32)
    few = max(CACHED_LOGITS // logits.shape[1], 1)
    for low, total in zip(logits.split(few), totals.split(few), strict=True):
        part = low.float()
        highest = part.amax(1, keepdim=True)
        normaliser = part.sub_(highest).exp_().sum(1, keepdim=True)
        torch.maximum(likeliest, part.div_(normaliser).amax(0), out=likeliest)
        torch.add(highest, normaliser.log_(), out=total)
    likeliest[labels] = 1
    tokens = (likeliest > LEAST_SHARE).nonzero()[:, 0]
    shares = logits[:, tokens].float().sub_(totals)
    wanted = torch.searchsorted(tokens, labels)[:, None]
    scores = shares.gather(1, wanted)[:, 0]
    rest = 1 - shares.exp_().sum(1, keepdim=True)
    shares.neg_().scatter_add_(1, wanted, torch.ones_like(rest))
    return scores, (shares.to(weight.dtype) @ weight[tokens]).sub_(rest * mean)


def _chunk_size(count: int) -> int:
    """Rows of logits at once, about CHUNK_ROWS, such that no chunk is nearly empty: each reads the whole matrix."""
    return math.ceil(count / max(round(count / CHUNK_ROWS), 1)) or 1


def score_labels(hidden: Any, weight: Any, labels: Any) -> Any:
    """LabelScores, inside autocast in its dtype: cast once, not for each chunk."""
    dtype = autocast_dtype(hidden) or weight.dtype
    return LabelScores.apply(hidden.to(dtype), weight.to(dtype), labels)
