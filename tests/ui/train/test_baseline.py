"""Trying the base model on the Train tab: progress, the recommendation, the examples, and what is in its way."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelforge import Forge
from modelforge.models.baseline import Baseline
from modelforge.models.few_shot import Example
from modelforge.models.outcomes import Measured, Outcome
from modelforge.planner.duration import predict_baseline
from modelforge.runs.baseline import describe_time as describe_trial
from modelforge.scores.need import DATA, PROMPT, TRAIN, UNCLEAR, Advice
from modelforge.ui.rows import EVERY, list_choices, list_rows, write_csv
from modelforge.ui.train.baseline import describe_time, show_baseline, show_progress
from tests import tiny

ATTACK = "<script>alert(1)</script>"


def make_baseline(word: str = PROMPT) -> Baseline:
    outcomes = [
        Outcome(
            str(row), row, f"Question {row} {ATTACK}", "Red.", {"zero_shot": "Blue.", "tuned": "Red."},
            {"zero_shot": {"rougeL": 0.0, "loss": 3.0}, "tuned": {"rougeL": 1.0, "loss": 1.0}}, tokens=2,
        )
        for row in range(1, 9)
    ]  # fmt: skip
    measured = Measured(outcomes, "zero_shot", ("rougeL", "loss"), [f"A note {ATTACK}"])
    return Baseline(measured, Advice(word, f"Because {ATTACK}."), [Example(3, tiny.messages(ATTACK, "Green."))])


@pytest.mark.parametrize("word", [PROMPT, TRAIN, DATA, UNCLEAR])
def test_card_has_the_word_its_reason_both_ways_and_the_examples_and_nothing_becomes_markup(word: str) -> None:
    shown = show_baseline(make_baseline(word), f"model {ATTACK}")
    assert f"{word[0].upper()}{word[1:]}</div>" in shown
    assert "As it is" in shown and "With examples" in shown and "0.000" in shown and "1.000" in shown
    assert "Example, row 3" in shown and "Green." in shown and "on 8 held-out rows." in shown
    assert "<script" not in shown


def test_rows_are_shown_side_by_side_under_their_own_titles() -> None:
    measured = make_baseline().measured
    assert list_choices(measured) == [("Better with examples (8)", "best"), ("All (8)", EVERY)]
    shown = list_rows(measured, EVERY, "")
    assert "As it is" in shown and "With examples" in shown and "Before" not in shown and "<script" not in shown
    head = Path(write_csv(measured)).read_text(encoding="utf-8-sig").splitlines()[0]
    assert head.startswith("row,prompt,expected,as it is,with examples,right as it is,right with examples")


def test_time_is_shown_before_and_what_is_left_while_it_runs() -> None:
    assert "Takes about 20 to 60 s." in describe_time("about 20 to 60 s") and "Takes" not in describe_time("")
    assert "Loading the base model" in show_progress(None, 1.0) == show_progress(0.0, 1.0)
    assert "50%, about 10 s left" in show_progress(0.5, 10.0) and "left" not in show_progress(0.01, 1.0)


def test_planner_predicts_the_time_and_fewer_rows_take_less(forge: Forge, tiny_base: Path, tmp_path: Path) -> None:
    recipe = tiny.recipe(tiny_base, tiny.write_rows(tmp_path / "rows.jsonl", tiny.PAIRS), {"eval_split": 0.25})
    time = forge.runs.predict_base(recipe)
    assert time.startswith("about ")
    from modelforge.planner.plan import plan

    made = plan(recipe, rows=32, longest=30, mean_tokens=20)
    (low, high), (less, _) = predict_baseline(made, 40, 30), predict_baseline(made, 4, 30)
    assert 0 < less < low < high
    assert predict_baseline(made, 0, 30) == (0.0, 0.0)
    assert describe_trial(made, 32, 30).startswith("about ")
