"""What doubling the data and more epochs would do, on made-up runs whose truth is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pytest

from modelforge.scores.scaling import (
    EPOCHS_ENOUGH,
    EPOCHS_MORE,
    LITTLE,
    MORE,
    UNCLEAR,
    Forecast,
    continue_laws,
    forecast_doubling,
    judge_epochs,
)
from modelforge.scores.statistics import combine_mean, stack_losses, stack_means

TRAINED = (25, 50, 100)


def make_up(shares: Sequence[float], rows: int, seed: int) -> Forecast:
    """Of three runs that are right on such shares of all rows; a row that is hard is hard for all of them."""
    draw = np.random.default_rng(seed)
    hard = draw.normal(size=rows)
    mixed = [0.7 * hard + np.sqrt(1 - 0.49) * draw.normal(size=rows) for _ in shares]
    sides = [
        stack_means([float(each) for each in row < NormalDist().inv_cdf(share)])
        for row, share in zip(mixed, shares, strict=True)
    ]
    return forecast_doubling("rougeL", TRAINED, sides, combine_mean)


@pytest.mark.parametrize(
    ("shares", "doubled"),
    [((0.3, 0.4, 0.5), 0.6), ((0.3, 0.5, 0.6), 0.65), ((0.5, 0.5, 0.5), 0.5), ((0.9, 0.93, 0.95), 0.963)],
    ids=["straight line", "power law", "nothing to gain", "nearly all right"],
)
def test_interval_has_the_truth_in_it_as_often_as_it_says(shares: Sequence[float], doubled: float) -> None:
    found = [make_up(shares, 40, seed) for seed in range(100)]
    truth = doubled - shares[-1]
    # the gain that is meant is from the true share, not from the one of these rows
    held = sum(
        each.low is not None and each.high is not None and each.low - 1e-9 <= truth <= each.high + 1e-9
        for each in found
    )
    assert held >= 92


def test_runs_that_do_not_differ_seldom_promise_anything() -> None:
    words = Counter(make_up((0.5, 0.5, 0.5), 40, seed).word for seed in range(100))
    assert words[MORE] <= 3


def test_clear_rise_says_that_more_data_would_help_and_by_how_much() -> None:
    found = make_up((0.2, 0.4, 0.6), 200, 0)
    assert found.word == MORE
    assert found.gain is not None and found.low is not None and 0 < found.low < found.gain
    assert "rougeL" not in found.why
    assert found.why.startswith("ROUGE-L was 0.") and "Twice as many would give about 0." in found.why


def test_flat_line_of_many_rows_says_that_more_data_would_hardly_help() -> None:
    losses = np.random.default_rng(0).normal(2.0, 0.3, 200)
    sides = [stack_losses([*(losses + change)], [10] * 200) for change in (0.011, 0.010, 0.009)]
    found = forecast_doubling("loss", TRAINED, sides, combine_mean)
    assert found.word == LITTLE
    assert found.gain is not None and -0.003 < found.gain <= 0  # of a loss less is better


@pytest.mark.parametrize(
    ("trained", "rows", "what"),
    [
        ((5, 10, 20), 40, "20 training rows are too few to divide: at least 40"),
        (TRAINED, 12, "12 held-out rows are too few"),
    ],
)
def test_too_few_rows_cannot_tell_and_say_how_many_can(trained: Sequence[int], rows: int, what: str) -> None:
    sides = [stack_means([value] * rows) for value in (0.1, 0.2, 0.3)]
    found = forecast_doubling("rougeL", trained, sides, combine_mean)
    assert found.word == UNCLEAR and what in found.why and found.gain is None


def test_curve_that_falls_on_the_way_cannot_tell() -> None:
    found = make_up((0.6, 0.2, 0.7), 200, 0)
    assert found.word == UNCLEAR and "no trend to continue" in found.why


def test_wide_interval_cannot_tell_and_is_shown() -> None:
    made = [make_up((0.5, 0.5, 0.5), 40, seed) for seed in range(20)]
    found = [each for each in made if "hold out more rows" in each.why]
    assert len(found) > 5
    assert all(each.word == UNCLEAR and "with 95% certainty" in each.why for each in found)


def test_both_laws_continue_what_they_are_made_of() -> None:
    line, power = continue_laws((25, 50, 100), np.array([[1.0, 2.0, 3.0], [1.0, 3.0, 4.0], [1.0, 1.0, 1.0]]))
    assert [*line] == pytest.approx([1.0, 1.5, 0.0])
    assert [*power] == pytest.approx([1.0, 0.5, 0.0])


@pytest.mark.parametrize(
    ("curve", "word"),
    [
        ([(0, 3.0), (1, 2.5), (2, 2.2), (3, 2.0)], EPOCHS_MORE),
        ([(0, 3.0), (1, 2.1), (2, 2.01), (3, 2.0)], EPOCHS_ENOUGH),
        ([(0, 3.0), (1, 2.1), (2, 2.3), (3, 2.6)], "it got worse after epoch 1"),
        ([(0, 3.0), (1, 3.2), (2, 3.3), (3, 3.6)], "it got worse after epoch 0"),
        ([(0, 3.0), (1, 2.1), (2, 2.0)], UNCLEAR),
        ([], UNCLEAR),
    ],
)
def test_epochs_are_judged_by_the_curve(curve: list[tuple[float, float]], word: str) -> None:
    found = judge_epochs("loss", curve)
    assert found.word == word and found.why


def test_epochs_of_a_metric_that_rises_are_judged_the_other_way_round() -> None:
    assert judge_epochs("f1", [(0, 0.1), (1, 0.5), (2, 0.7), (3, 0.9)]).word == EPOCHS_MORE
    assert judge_epochs("f1", [(0, 0.1), (1, 0.9), (2, 0.8), (3, 0.7)]).word == "it got worse after epoch 1"
