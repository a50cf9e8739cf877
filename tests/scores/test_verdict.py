"""The word: when it is given, when it is withheld, and what it says then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelforge.scores.intervals import Interval, find_interval
from modelforge.scores.statistics import find_combine, stack_losses, stack_means
from modelforge.scores.titles import SHOWN
from modelforge.scores.verdict import BETTER, UNCLEAR, WORSE, Verdict, judge


def judge_scores(before: Any, after: Any, metric: str = "rougeL") -> Verdict:
    rows, combine = len(before), find_combine(metric)
    stack = (lambda scores: stack_losses(scores, [10] * rows)) if metric == "loss" else stack_means
    sides = stack(before), stack(after)
    values = [float(combine(side.sum(0))) for side in sides]
    return judge(metric, values[0], values[1], find_interval(*sides, combine, draws=999), rows)


def spread(mean: float, deviation: float, rows: int, seed: int = 0) -> Any:
    return mean + np.random.default_rng(seed).normal(0, deviation, rows)


def test_clear_gain_is_better_and_says_by_how_much_on_how_many_rows() -> None:
    before = spread(0.3, 0.1, 40)
    found = judge_scores(before, before + spread(0.2, 0.1, 40, 1))
    assert found.word == BETTER and found.enough is None
    assert found.why.startswith("ROUGE-L rose by 0.")
    assert "with 95% certainty, on 40 rows." in found.why
    assert judge_scores(before, before - spread(0.2, 0.1, 40, 1)).word == WORSE


def test_lower_loss_is_better() -> None:
    before = spread(3, 0.5, 40)
    assert judge_scores(before, before - 0.5, "loss").word == BETTER
    assert judge_scores(before, before + 0.5, "loss").word == WORSE


def test_difference_too_small_to_matter_is_none_however_sure_it_is() -> None:
    before = spread(3, 0.5, 200)
    found = judge_scores(before, before - 1e-5, "loss")
    assert found.word == UNCLEAR and found.enough is None
    assert "too small to matter" in found.why
    assert judge_scores(before, before, "loss").why.startswith("Held-out loss stayed at")


def test_too_few_rows_say_how_many_would_be_enough() -> None:
    before = spread(0.3, 0.1, 6)
    found = judge_scores(before, before + 0.3)
    assert found.word == UNCLEAR and found.enough == 20
    assert (
        "With 6 held-out rows no difference can be distinguished from chance" in found.why
        and "Hold out about 20" in found.why
    )
    (one,) = [judge_scores([0.1], [0.9])]
    assert one.word == UNCLEAR and "With 1 held-out row " in one.why and "certainty" not in one.why


def test_rows_that_are_said_to_be_enough_are() -> None:
    """In most cases: the number comes from an estimate of the spread."""
    advised, clear = [], 0
    for seed in range(60):
        gains = spread(0.05, 0.15, 16, seed)
        found = judge_scores(np.zeros(16), gains)
        if found.word == UNCLEAR and found.enough and found.shows:
            assert (
                f"only a difference above {SHOWN['rougeL'].write_change(found.shows)}" in found.why
                or "Chance" in found.why
            )
            advised.append(found.enough)
    typical = int(np.median(advised))
    for seed in range(40):
        clear += judge_scores(np.zeros(typical), spread(0.05, 0.15, typical, 100 + seed)).word == BETTER
    assert clear >= 20


def draw_answers(kind: str, rows: int, generator: Any) -> tuple[Any, Any, str]:
    """Two draws from the same distribution of scores: what a model at temperature 1 gives when it answers twice."""
    ease = generator.random(rows)  # rows differ more than draws

    def draw() -> Any:
        if kind == "right or wrong":
            return np.array(generator.random(rows) < ease, dtype=float)
        if kind == "skewed":
            return ease + generator.exponential(0.3, rows)
        return np.clip(ease + generator.normal(0, 0.2, rows), 0, 1)

    metrics = {"right or wrong": "exact_match", "skewed": "mean_reward", "smooth": "rougeL"}
    return draw(), draw(), metrics[kind]


@pytest.mark.parametrize("kind", ["smooth", "right or wrong", "skewed"])
@pytest.mark.parametrize("rows", [8, 12, 40])
def test_model_compared_with_itself_is_hardly_ever_better_or_worse(kind: str, rows: int) -> None:
    generator, words = np.random.default_rng(rows), []
    for _ in range(200):
        before, after, metric = draw_answers(kind, rows, generator)
        words.append(judge_scores(before, after, metric).word)
    assert sum(word != UNCLEAR for word in words) <= 7  # 2 are expected, and 10 allowed


def test_interval_that_leaves_out_zero_is_not_enough_alone() -> None:
    found = judge("rougeL", 0.2, 0.3, Interval(0.1, 0.01, 0.19, 0.03, 0.05, 20), 20)
    assert found.word == UNCLEAR and found.enough
    assert "Chance alone gives such a difference in 3% of comparisons; a verdict needs 1% or less." in found.why


def test_fall_that_may_be_a_rise_is_described_both_ways() -> None:
    found = judge("rougeL", 0.30, 0.28, Interval(-0.02, -0.06, 0.02, 0.4, 0.02, 20), 20)
    assert "ROUGE-L fell by 0.020, from 0.300 to 0.280; between a rise of 0.020 and a fall of 0.060" in found.why


def test_shares_differ_in_points() -> None:
    found = judge("exact_match", 0.25, 0.75, Interval(0.5, 0.3, 0.7, 0.0001, 0.1, 20), 20)
    assert found.why == (
        "Exact match rose by 50.0 points, from 25.0% to 75.0%; between 30.0 points and 70.0 points with 95% certainty, "
        "on 20 rows."
    )
