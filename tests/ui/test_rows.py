"""Rows on the page: what is listed, how differences are marked, and that nothing of a stranger's becomes markup."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from modelforge.models.outcomes import Measured, Outcome
from modelforge.scores.titles import write_difference
from modelforge.ui.look.verdict import draw_interval, show_verdict
from modelforge.ui.rows import MOST_SHOWN, disarm, list_choices, list_rows, mark_differences, write_csv


def make_outcome(row: int, expected: str, base: str, tuned: str) -> Outcome:
    scores = {side: {"exact_match": float(text == expected)} for side, text in (("base", base), ("tuned", tuned))}
    return Outcome(str(row), row, f"Question {row}", expected, {"base": base, "tuned": tuned}, scores)


def measure(*rows: tuple[str, str, str]) -> Measured:
    return Measured([make_outcome(place, *row) for place, row in enumerate(rows, start=1)], "base", ("exact_match",))


def test_lists_that_have_no_rows_are_not_offered() -> None:
    labels = [label for label, _ in list_choices(measure(("red", "blue", "red"), ("red", "green", "green")))]
    assert labels == ["Best (1)", "All (2)"]
    labels = [label for label, _ in list_choices(measure(("red", "red", "blue"), ("red", "blue", "red")))]
    assert labels == ["Right before, wrong now (1)", "Worst (1)", "Best (1)", "All (2)"]


def test_words_that_the_expected_answer_lacks_are_marked() -> None:
    assert mark_differences("The lamp is blue.", "The lamp is red.") == "The lamp is <mark>blue</mark>."
    assert mark_differences("the LAMP is red.", "The lamp is red.") == "the LAMP is red."
    assert mark_differences("", "Red.") == "<i>nothing</i>"
    assert mark_differences("\n\n \n", "Red.") == "<i>nothing</i>"
    assert "<mark>" not in mark_differences("a " * 5000, "b " * 5000)


def test_nothing_in_a_row_becomes_markup() -> None:
    nasty = "<script>alert(1)</script>"
    shown = list_rows(measure((nasty, nasty, f"{nasty}<b>")), "all", "")
    assert "<script>" not in shown and "<b>" not in shown.replace("<b>right before, wrong now</b>", "")
    assert "&lt;script&gt;" in shown


def test_search_looks_in_prompts_and_answers_and_many_rows_are_cut_with_a_word() -> None:
    measured = measure(*[("expected", "before", f"now {row}") for row in range(MOST_SHOWN + 10)])
    assert list_rows(measured, "all", "").count('class="mf-outcome"') == MOST_SHOWN
    assert f"{MOST_SHOWN} of {MOST_SHOWN + 10} rows are shown" in list_rows(measured, "all", "")
    assert list_rows(measured, "all", " NOW 12").count('class="mf-outcome"') == 1
    assert "No row contains" in list_rows(measured, "all", "nowhere")
    assert list_rows(None, "all", "") == ""


def test_csv_has_all_rows_the_worst_first_and_no_formulas(home: Path) -> None:
    path = Path(write_csv(measure(("red", "blue", "red"), ("red", "red", "=1+1"))))
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == ["2", "1"]
    assert rows[0]["now"] == "'=1+1" and rows[0]["exact_match before"] == "1.0"
    assert (rows[0]["right before"], rows[0]["right now"]) == ("True", "False")
    assert [disarm(text) for text in ("-5", "@x", "half \ud800", "plain = 1")] == ["'-5", "'@x", "half ?", "plain = 1"]


VERDICT = {
    "word": "better", "metric": "loss", "rows": 12, "why": "It <fell>.", "against": "base", "notes": ["A & B"],
    "differences": {"loss": {"value": -0.5, "low": -0.8, "high": -0.2}},
}  # fmt: skip


def test_card_says_the_word_what_it_rests_on_and_its_interval() -> None:
    shown = show_verdict(VERDICT)
    for text in ("Better", "It &lt;fell&gt;.", "A &amp; B", "Rests on Held-out loss", "the base model", "mf-good"):
        assert text in shown
    assert "95% interval of the difference: -0.800 to -0.200" in shown
    one = show_verdict({**VERDICT, "differences": {"loss": {"value": -0.5, "low": None, "high": None}}})
    assert "mf-interval" not in one
    none = show_verdict({**VERDICT, "word": None, "metric": "", "differences": {}})
    assert "No verdict" in none and "Rests on" not in none


def test_better_is_on_the_right_also_where_lower_is_better() -> None:
    def places(name: str, low: float, high: float) -> tuple[float, float]:
        drawn = draw_interval(name, {"value": (low + high) / 2, "low": low, "high": high})
        zero, band = (
            float(drawn.split(f'mf-interval-{part}" style="left:')[1].split("%")[0]) for part in ("zero", "band")
        )
        return zero, band

    zero, band = places("loss", -0.8, -0.2)
    assert band > zero
    zero, band = places("rougeL", -0.8, -0.2)
    assert band < zero
    draw_interval("rougeL", {"value": 0.0, "low": 0.0, "high": 0.0})


@pytest.mark.parametrize(
    ("name", "difference", "text"),
    [
        ("rougeL", {"value": 0.12, "low": 0.05, "high": 0.18}, "+0.120 (+0.050 to +0.180)"),
        ("exact_match", {"value": -0.1, "low": -0.2, "high": 0.05}, "-10.0 points (-20.0 points to +5.0 points)"),
        ("loss", {"value": 0.5, "low": None, "high": None}, "+0.500"),
        ("loss", None, ""),
        ("loss", {"value": 0.0, "low": -0.0004, "high": 0.01}, "0.000 (0.000 to +0.010)"),
        ("perplexity", {"value": -3824.6, "low": -4050.0, "high": -3540.0}, "-3824.6 (-4050.0 to -3540.0)"),
    ],
)
def test_differences_are_written_with_their_sign(name: str, difference: dict[str, float] | None, text: str) -> None:
    assert write_difference(name, difference) == text
