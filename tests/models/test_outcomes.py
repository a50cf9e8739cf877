"""What follows from outcomes without measuring again: metrics, differences, the verdict, regressions; that they
last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelforge import paths
from modelforge.models.outcomes import FILE, Measured, Outcome, identify_row, read_outcomes, save_outcomes
from modelforge.scores.metrics import METRICS
from modelforge.scores.verdict import BETTER, UNCLEAR, WORSE

COLOURS = ("red", "blue", "green", "white", "black", "brown", "pink", "grey", "gold", "lilac", "cyan", "beige")
METRICS_OF_CHATS = ("rougeL", "loss", "perplexity", "chrf", "exact_match")


def make_outcome(row: int, base: str, tuned: str, **more: Any) -> Outcome:
    expected = f"The lamp is {COLOURS[row]}."
    answers = {"base": base, "tuned": tuned}
    scores = {
        side: {name: METRICS[name]([answer], [expected]) for name in ("rougeL", "chrf", "exact_match")}
        | {"loss": 3.0 - METRICS["rougeL"]([answer], [expected])}
        for side, answer in answers.items()
    }
    return Outcome(f"{row:016x}", row + 1, "Which colour?", expected, answers, scores, **{"tokens": 5 + row, **more})


def measure(answers: list[tuple[str, str]], **more: Any) -> Measured:
    return Measured([make_outcome(row, *pair, **more) for row, pair in enumerate(answers)], "base", METRICS_OF_CHATS)


LEARNT = [("No idea", f"The lamp is {colour}.") for colour in COLOURS]


def test_metrics_of_all_rows_are_those_of_the_texts_together() -> None:
    measured = measure([*LEARNT[:3], ("The lamp is white", "Hm")])
    answers, expected = zip(*((each.answers["tuned"], each.expected) for each in measured.outcomes), strict=True)
    tuned = measured.sides["tuned"]
    for name in ("rougeL", "chrf", "exact_match"):
        assert tuned[name] == pytest.approx(METRICS[name](answers, expected))
    tokens = [each.tokens for each in measured.outcomes]
    losses = [each.scores["tuned"]["loss"] for each in measured.outcomes]
    assert tuned["loss"] == pytest.approx(sum(a * b for a, b in zip(losses, tokens, strict=True)) / sum(tokens))


def test_verdict_is_that_of_the_first_metric_that_both_sides_have() -> None:
    assert (measure(LEARNT).judge().word, measure(LEARNT).judge().metric) == (BETTER, "rougeL")
    swapped = [(tuned, base) for base, tuned in LEARNT]
    assert measure(swapped).judge().word == WORSE
    measured = measure(LEARNT)
    for each in measured.outcomes:
        del each.scores["base"]["rougeL"]
    assert measured.judge().metric == "loss"
    assert "rougeL" not in measured.compare() and "rougeL" in measured.sides["tuned"]


def test_nothing_to_compare_with_gives_no_word() -> None:
    measured = measure(LEARNT)
    for each in measured.outcomes:
        del each.scores["base"], each.answers["base"]
    found = measured.judge()
    assert found.word is None and "nothing to compare" in found.why
    assert measured.compare() == {} and measured.sides.keys() == {"tuned"}


def test_rows_that_were_trained_on_do_not_count_and_if_all_were_the_word_is_withheld() -> None:
    outcomes = [make_outcome(row, *pair, known=row < 3) for row, pair in enumerate(LEARNT)]
    assert measure(LEARNT).judge().rows == 12
    assert Measured(outcomes, "base", METRICS_OF_CHATS).judge().rows == 9
    found = measure(LEARNT, known=True).judge()
    assert found.word == UNCLEAR and "what was memorised, not what was learned" in found.why


def test_rows_that_were_right_and_are_wrong_come_first_then_the_worst() -> None:
    measured = measure(
        [
            ("The lamp is red!", "The lamp is blue"),  # right before
            ("The lamp was blue", "Maybe"),  # a fall
            ("Well: the lamp is green. Yes", "A lamp"),  # right before, inside a longer answer
            ("Hm", "The lamp is white"),  # a gain
            ("The lamp is black.", "The lamp is black."),
        ]
    )
    assert [each.row for each in measured.list_lost()] == [1, 3]
    assert [each.row for each in measured.list_regressions()] == [1, 3, 2]
    assert [each.row for each in measured.list_gains()] == [4]
    assert [each.row for each in measured.rank_gains()][-1] == 4


def test_outcomes_last_and_damaged_ones_are_as_if_there_were_none(home: Path) -> None:
    model_id = paths.new_id("model")
    assert read_outcomes(model_id) is None
    paths.model_dir(model_id).mkdir(parents=True)
    measured = measure([*LEARNT, ("\ud800 half", "<b>bold</b>")][:12])
    save_outcomes(model_id, measured)
    kept = read_outcomes(model_id)
    assert kept is not None and list(kept.outcomes) == list(measured.outcomes)
    assert (kept.judge(), kept.sides) == (measured.judge(), measured.sides)
    (paths.model_dir(model_id) / FILE).write_text('{"outcomes": [{}]}')
    assert read_outcomes(model_id) is None


def test_a_row_has_the_same_id_wherever_it_is_measured() -> None:
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    assert identify_row(row) == identify_row({**row}) != identify_row({"text": "a"})
    assert len(identify_row(row)) == 16
