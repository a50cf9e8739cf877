"""What each metric of many rows is computed of, so that `intervals.py` can resample rows.

A mean over rows, a loss a token and a metric of the whole corpus differ in nothing but this.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelforge.compat.sacrebleu import count_pieces, score_pieces
from modelforge.scores.intervals import Combine, Numbers
from modelforge.scores.metrics import HIGHEST_LOSS, PERPLEXITY


def stack_means(scores: Sequence[float]) -> Numbers:
    """[score, 1] of each row."""
    return np.stack([np.array(scores, dtype=float), np.ones(len(scores))], axis=1)


def stack_losses(losses: Sequence[float], tokens: Sequence[int]) -> Numbers:
    """[loss of the row, its tokens], of losses in nats a token."""
    counts = np.array(tokens, dtype=float)
    return np.stack([np.array(losses, dtype=float) * counts, counts], axis=1)


stack_pieces = count_pieces


def combine_mean(sums: Numbers) -> Numbers:
    return sums[..., 0] / np.maximum(sums[..., 1], 1e-12)


def combine_perplexity(sums: Numbers) -> Numbers:
    return np.exp(np.minimum(combine_mean(sums), HIGHEST_LOSS))


COMBINES: dict[str, Combine] = {"chrf": score_pieces, PERPLEXITY: combine_perplexity}
"""Metrics that are not a mean."""


def find_combine(metric: str) -> Combine:
    return COMBINES.get(metric, combine_mean)
