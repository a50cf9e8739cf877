"""Whether a model got better is said by what its method trains for, in the right direction."""

from __future__ import annotations

import pytest

from modelforge.runs.event_text import MEASURED
from modelforge.ui.look.chart import draw
from modelforge.ui.look.metrics import SHOWN, describe_change, describe_outcome, find_telling, show_metrics


def measured(base: dict[str, float], tuned: dict[str, float]) -> dict[str, dict[str, float]]:
    return {"base": base, "tuned": tuned}


@pytest.mark.parametrize(
    ("base", "tuned", "telling", "better"),
    [
        ({"loss": 2.0, "perplexity": 7.4}, {"loss": 1.0, "perplexity": 2.7}, "loss", True),
        ({"loss": 1.0}, {"loss": 1.0}, "loss", False),
        ({"loss": 0.0, "mean_reward": 0.2}, {"loss": 0.5, "mean_reward": 0.4}, "mean_reward", True),
        ({"loss": 0.7, "reward_margin": 0.0}, {"loss": 0.8, "reward_margin": -0.1}, "reward_margin", False),
        ({"loss": 3.0, "f1": 0.1, "exact_match": 0.0}, {"loss": 4.0, "f1": 0.9, "exact_match": 0.8}, "f1", True),
    ],
)
def test_telling_metric_decides(base: dict[str, float], tuned: dict[str, float], telling: str, better: bool) -> None:
    assert find_telling(measured(base, tuned)) == telling
    sentence, is_better = describe_outcome(measured(base, tuned))
    assert is_better is better
    assert ("and better" in sentence) is better


BEFORE, BASE, TUNED = {"f1": 0.5}, {"f1": 0.1}, {"f1": 0.4}


def test_fault_10_outcome_is_judged_by_what_the_run_started_from_and_the_base_is_shown_beside_it() -> None:
    metrics = {"before": BEFORE, "base": BASE, "tuned": TUNED}
    sentence, is_better = describe_outcome(metrics)
    assert "from 50.0% to 40.0%" in sentence and not is_better
    assert describe_change(metrics) == "F1 50.0% → 40.0%"
    shown = show_metrics(metrics)
    assert "<th>Before</th><th>Base</th><th>Tuned</th>" in shown and "10.0%" in shown and "▼ worse" in shown


def test_fault_10_records_without_before_mean_it_by_base_and_nothing_is_shown_twice() -> None:
    for metrics in ({"base": BEFORE, "tuned": TUNED}, {"before": BEFORE, "base": BEFORE, "tuned": TUNED}):
        assert describe_outcome(metrics) == describe_outcome({"before": BEFORE, "tuned": TUNED})
        assert "<th>Before</th><th>Tuned</th>" in show_metrics(metrics)


def test_nothing_measured_is_said_and_is_no_failure() -> None:
    sentence, is_better = describe_outcome({})
    assert "not measured" in sentence
    assert is_better


def test_everything_that_is_measured_has_a_name_and_a_direction() -> None:
    assert SHOWN.keys() >= MEASURED.keys()
    shown = show_metrics(measured({"loss": 2.0, "f1": 0.5}, {"loss": 1.0, "f1": 0.25}))
    assert shown.count("▲ better") == 1
    assert shown.count("▼ worse") == 1
    assert "lower is better" in shown
    assert "higher is better" in shown


@pytest.mark.parametrize("values", [(-1.5, 0.2), (-0.001, -0.5), (0.0, 0.0), (3.0, 0.5), (-1.0, 9.0)])
def test_chart_holds_every_value_also_below_zero(values: tuple[float, float]) -> None:
    drawn = draw([(1, values[0]), (2, values[1])], [], 2)
    points = drawn.split('class="mf-loss-raw" points="')[1].split('"')[0].split()
    heights = [float(point.split(",")[1]) for point in points]
    assert all(16 <= height <= 226 for height in heights)
