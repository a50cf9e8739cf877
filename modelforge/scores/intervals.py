"""How sure a difference between two sides is, measured on the same rows: its interval, and how often chance alone gives
one like it.

A side is an array of statistics (rows, kinds), and a metric is computed of their sums: of [score, 1] the mean, of
[loss of the row, its tokens] the loss a token. So means, ratios and metrics of a whole corpus are all resampled by
rows, and a row stays with its counterpart (paired). It does not know metrics; which one has which statistics is in
`statistics.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Combine = Callable[[Numbers], Numbers]
"""Sums of statistics (..., kinds) -> the metric (...)."""

CERTAINTY = 0.95
DRAWS = 9_999  # the default of scipy.stats.bootstrap
ALL_FLIPS = 12  # up to this many rows every way of exchanging sides is tried
_CELLS_AT_ONCE = 4_000_000  # numbers of draws in memory: 32 MB


@dataclass(frozen=True)
class Interval:
    """A difference, after minus before. low, high: its interval with a certainty of 95%. chance: how often sides that
    do not differ give a difference at least as large, from 0 to 1. error: its standard error. rows: how many."""

    value: float
    low: float
    high: float
    chance: float
    error: float
    rows: int

    def as_json(self) -> dict[str, float | None]:
        """value, low and high; low and high are None of a single row, which says nothing about others."""
        low, high = (self.low, self.high) if self.rows > 1 else (None, None)
        return {"value": self.value, "low": low, "high": high}


def find_interval(before: Numbers, after: Numbers, combine: Combine, *, seed: int = 0, draws: int = DRAWS) -> Interval:
    """The difference of a metric between two sides, of at least one row. before, after: statistics (rows, kinds).

    The interval is that of the percentile bootstrap over pairs of rows (Efron and Tibshirani 1993, chapter 13), the
    same as `scipy.stats.bootstrap(paired=True, method="percentile")` of the same draws at the level of `expand_level`.
    """
    value = float(combine(after.sum(0)) - combine(before.sum(0)))
    drawn = draw_differences(before, after, combine, seed=seed, draws=draws)
    tail = (1 - expand_level(len(before))) / 2
    low, high = (float(np.quantile(drawn, share)) for share in (tail, 1 - tail))
    chance = flip_sides(before, after, combine, seed=seed, draws=draws)
    return Interval(value, low, high, chance, float(drawn.std()), len(before))


def draw_differences(
    before: Numbers, after: Numbers, combine: Combine, *, seed: int = 0, draws: int = DRAWS
) -> Numbers:
    """The differences of `draws` samples of rows, drawn with replacement -> (draws)."""
    drawn = draw_metrics((before, after), combine, seed=seed, draws=draws)
    return drawn[:, 1] - drawn[:, 0]


def draw_metrics(sides: Sequence[Numbers], combine: Combine, *, seed: int = 0, draws: int = DRAWS) -> Numbers:
    """The metric of each side, of the same `draws` samples of rows, drawn with replacement -> (draws, sides)."""
    rows, generator, found = len(sides[0]), np.random.default_rng(seed), []
    for count in _divide(draws, sides[0].size):
        chosen = generator.integers(0, rows, (count, rows))  # (count, rows)
        found.append(np.stack([combine(side[chosen].sum(1)) for side in sides], axis=1))
    return np.concatenate(found)


def flip_sides(before: Numbers, after: Numbers, combine: Combine, *, seed: int = 0, draws: int = DRAWS) -> float:
    """How often a difference at least as large comes about when it is left to chance, for each row, which side is
    which: Fisher's exact paired test (Good 2005, "Permutation, Parametric and Bootstrap Tests of Hypotheses", section
    3.2). Of right and wrong answers it is McNemar's exact test.

    All ways are tried for up to `ALL_FLIPS` rows; else random ones, the observed one among them (Phipson and Smyth
    2010). With n rows the answer is at least 2 / 2**n.
    """
    rows, gain = len(before), after - before
    observed = abs(combine(after.sum(0)) - combine(before.sum(0))) - 1e-12  # equal sums differ in their last digits
    if rows <= ALL_FLIPS:
        flips = (np.arange(2**rows)[:, None] >> np.arange(rows) & 1).astype(float)  # (2**rows, rows)
        return float(np.mean(_flip(before, after, gain, flips, combine) >= observed))
    generator = np.random.default_rng(seed)
    hits = sum(
        int((_flip(before, after, gain, generator.integers(0, 2, (count, rows)), combine) >= observed).sum())
        for count in _divide(draws, rows)
    )
    return (hits + 1) / (draws + 1)


def _flip(before: Numbers, after: Numbers, gain: Numbers, flips: Any, combine: Combine) -> Numbers:
    """Absolute differences when the rows that a flip (a row of flips) marks with 1 exchange their sides."""
    moved = flips @ gain
    return np.abs(combine(after.sum(0) - moved) - combine(before.sum(0) + moved))


def compare_right_and_wrong(lost: int, won: int) -> float:
    """McNemar's exact test, two-sided: the chance that of lost + won rows that changed, so many changed one way.

    lost: rows right before and wrong after; won: the reverse (McNemar 1947; exact by the binomial distribution).
    """
    changed = lost + won
    tail = sum(math.comb(changed, count) for count in range(min(lost, won) + 1))
    return min(1.0, tail / 2 ** max(changed - 1, 0)) if changed else 1.0


def expand_level(rows: int, level: float = CERTAINTY) -> float:
    """The level at which percentiles are taken: of few rows those of the level itself lie too close together.

    Hesterberg 2015, "What Teachers Should Know about the Bootstrap", section 4.1: as wide as the interval of Student's
    t.
    """
    if rows < 2:
        return 1.0
    tail = NormalDist().cdf(-math.sqrt(rows / (rows - 1)) * student_quantile((1 + level) / 2, rows - 1))
    return 1 - 2 * tail


def student_quantile(share: float, freedom: int) -> float:
    """The quantile of Student's t, by its expansion around the normal distribution (Abramowitz and Stegun 26.7.5): off
    by less than 2% from 3 degrees of freedom on."""
    z = NormalDist().inv_cdf(share)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160,
    )
    return z + sum(term / float(freedom) ** power for power, term in enumerate(terms, start=1))


def _divide(draws: int, cells: int) -> Iterator[int]:
    """Counts that sum to `draws`, each of them few enough for memory."""
    most = max(1, _CELLS_AT_ONCE // max(cells, 1))
    for start in range(0, draws, most):
        yield min(most, draws - start)
