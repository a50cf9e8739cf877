"""Intervals against scipy's on the same draws, tests of chance against their exact values, and how both behave."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats

from modelforge.scores.intervals import (
    DRAWS,
    compare_right_and_wrong,
    draw_differences,
    expand_level,
    find_interval,
    flip_sides,
    student_quantile,
)
from modelforge.scores.statistics import combine_mean, find_combine, stack_losses, stack_means, stack_pieces

TOKENS = [3, 9, 4, 12, 7, 5, 8, 6, 11, 10]


def make_sides(metric: str, rows: int = 10) -> tuple[Any, Any]:
    generator = np.random.default_rng(4)
    if metric == "chrf":
        texts = [" ".join(generator.choice(["red", "green", "blue", "white"], 4)) for _ in range(3 * rows)]
        return tuple(stack_pieces(texts[:rows], texts[side * rows :][:rows]) for side in (1, 2))  # type: ignore[return-value]
    scores = generator.random((2, rows))
    if metric in ("loss", "perplexity"):
        return stack_losses(scores[0], TOKENS[:rows]), stack_losses(scores[1], TOKENS[:rows])
    return stack_means(scores[0]), stack_means(scores[1])


@pytest.mark.parametrize("metric", ["rougeL", "loss", "perplexity", "chrf"])
def test_intervals_equal_those_of_scipy_on_the_same_draws(metric: str) -> None:
    before, after = make_sides(metric)
    combine = find_combine(metric)
    rows = np.arange(len(before))

    def differ(chosen: Any, axis: int = -1) -> Any:
        return combine(after[chosen].sum(axis=-2)) - combine(before[chosen].sum(axis=-2))

    theirs = scipy.stats.bootstrap(
        (rows,),
        differ,
        n_resamples=DRAWS,
        method="percentile",
        confidence_level=expand_level(len(rows)),
        rng=np.random.default_rng(7),
    )
    ours = find_interval(before, after, combine, seed=7)
    assert draw_differences(before, after, combine, seed=7) == pytest.approx(theirs.bootstrap_distribution)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=1e-9)
    assert ours.value == pytest.approx(float(differ(rows))) and ours.low <= ours.value <= ours.high


def test_same_seed_gives_the_same_interval_and_rows_stay_with_their_counterpart() -> None:
    before, _ = make_sides("rougeL")
    after = before + np.array([0.25, 0.0])  # every row gains the same: there is no doubt, however different rows are
    first, again = (find_interval(before, after, combine_mean, seed=3) for _ in range(2))
    assert first == again
    assert (first.low, first.high) == pytest.approx((0.25, 0.25))


@pytest.mark.parametrize("freedom", [3, 5, 9, 39, 400])
def test_students_quantiles_are_scipys(freedom: int) -> None:
    for share in (0.975, 0.995):
        assert student_quantile(share, freedom) == pytest.approx(scipy.stats.t.ppf(share, freedom), rel=0.02)
    assert student_quantile(0.975, freedom) == pytest.approx(scipy.stats.t.ppf(0.975, freedom), rel=0.003)


def test_few_rows_get_wider_intervals() -> None:
    levels = [expand_level(rows) for rows in (2, 5, 10, 40, 1000)]
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] == pytest.approx(0.95, abs=1e-3)


def test_interval_holds_the_true_difference_in_about_95_of_100_samples() -> None:
    generator, hits = np.random.default_rng(0), {8: 0, 40: 0}
    for rows in hits:
        for seed in range(200):
            gains = generator.exponential(1.0, rows)  # skewed, with a mean of 1
            found = find_interval(stack_means(np.zeros(rows)), stack_means(gains), combine_mean, seed=seed, draws=999)
            hits[rows] += found.low <= 1 <= found.high
    assert hits[8] >= 170 and 180 <= hits[40] <= 198


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (1, 0), (0, 6), (2, 9), (5, 5), (3, 1), (0, 20)])
def test_exchanging_sides_is_mcnemars_exact_test_for_right_and_wrong(lost: int, won: int) -> None:
    before = stack_means([1.0] * lost + [0.0] * won + [1.0, 0.0])
    after = stack_means([0.0] * lost + [1.0] * won + [1.0, 0.0])
    exact = scipy.stats.binomtest(won, lost + won).pvalue if lost + won else 1.0
    assert compare_right_and_wrong(lost, won) == pytest.approx(exact)
    assert flip_sides(before, after, combine_mean) == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("rows", [1, 6, 8])
def test_few_rows_are_never_far_from_chance(rows: int) -> None:
    before, after = stack_means(np.zeros(rows)), stack_means(np.ones(rows))
    assert flip_sides(before, after, combine_mean) == 2 / 2**rows


def test_chance_equals_scipys_permutation_test() -> None:
    before, after = make_sides("rougeL", 9)
    gains = (after - before)[:, 0]
    theirs = scipy.stats.permutation_test(
        (gains,), lambda sample, axis: np.mean(sample, axis=axis), permutation_type="samples", n_resamples=10_000
    )
    assert flip_sides(before, after, combine_mean) == pytest.approx(theirs.pvalue)


def test_one_row_has_a_difference_and_no_interval() -> None:
    found = find_interval(stack_means([0.2]), stack_means([0.7]), combine_mean)
    assert found.as_json() == {"value": pytest.approx(0.5), "low": None, "high": None}


def test_many_rows_are_drawn_in_parts_that_fit_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = make_sides("rougeL")
    whole = draw_differences(before, after, combine_mean, seed=1, draws=999)
    monkeypatch.setattr("modelforge.scores.intervals._CELLS_AT_ONCE", 100)
    assert draw_differences(before, after, combine_mean, seed=1, draws=999) == pytest.approx(whole)
