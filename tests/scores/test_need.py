"""The recommendation before a first run: each word needs its evidence."""

from __future__ import annotations

import pytest

from modelforge.scores.need import DATA, PROMPT, TRAIN, UNCLEAR, Tried, advise, mean_interval, share_interval


def right(count: int, rows: int = 40) -> list[bool]:
    return [place < count for place in range(rows)]


SHORT, LONG, READ = [2] * 40, [60] * 40, [0.8] * 40


@pytest.mark.parametrize(
    ("tried", "word", "why"),
    [
        (Tried(right(10), right(40), 3, SHORT), PROMPT, "With 3 examples in the prompt"),
        (
            Tried(right(40), right(30), 3, SHORT),
            PROMPT,
            "As it is the base model gives the expected answer in 40 of 40",
        ),
        (Tried(right(40), right(40), 3, SHORT), PROMPT, "As it is the base model"),
        (Tried(right(0), right(0), 3, SHORT), TRAIN, "With 3 examples in the prompt the base model"),
        (Tried(right(10), right(0), 3, SHORT), TRAIN, "As it is the base model"),
        (Tried(right(40)), PROMPT, "It needs no training for this."),
        (Tried(right(2), right(10), 3, SHORT), TRAIN, "in 10 of 40 rows"),
        (Tried(right(2), right(34), 3, SHORT), UNCLEAR, "71% to 93%"),
        (Tried(right(5, 7), right(7, 7), 3, SHORT), UNCLEAR, "7 held-out rows say too little: at least 8"),
        (Tried(right(1, 1)), UNCLEAR, "1 held-out row says too little"),
        (Tried(right(0), right(0), 3, LONG, [0.2] * 40, [0.4, 0.6] * 20), TRAIN, "a style or facts in common"),
        (Tried(right(0), right(0), 3, LONG, [0.2] * 40, [-0.4, 0.6] * 20), UNCLEAR, "Compare the answers row by row"),
        (Tried(right(0), right(0), 3, LONG, [0.8] * 40, [0.4, 0.6] * 20), UNCLEAR, "Compare the answers"),
        (
            Tried(right(0), right(0), 3, SHORT, random=[2.6] * 38 + [0.5] * 2, prompts=READ),
            DATA,
            "38 of 40 expected answers look like",
        ),
        (Tried(right(0), right(0), 3, SHORT, fits=[-0.3, 0.2] * 20, prompts=READ), DATA, "do not seem to answer it"),
        (Tried(right(0), right(0), 3, SHORT, fits=[-0.3, 0.9] * 20, prompts=READ), TRAIN, "in 0 of 40 rows"),
        (
            Tried(right(0), right(0), 3, SHORT, fits=[-0.3] * 10, prompts=READ),
            TRAIN,
            "in 0 of 40 rows",
        ),  # too few to doubt the data
        (
            Tried(right(0), right(0), 3, SHORT, random=[2.6] * 40, fits=[-0.3, 0.2] * 20, prompts=[2.5] * 40),
            TRAIN,
            "0 of",
        ),
    ],
)
def test_word_rests_on_evidence(tried: Tried, word: str, why: str) -> None:
    found = advise(tried)
    assert found.word == word, found.why
    assert why in found.why


def test_interval_of_a_share_is_wilsons() -> None:
    assert share_interval(15, 50) == pytest.approx((0.191, 0.438), abs=1e-3)
    assert share_interval(20, 20) == pytest.approx((0.839, 1.0), abs=1e-3)


def test_interval_of_a_mean_is_students() -> None:
    low, high = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (low, high) == pytest.approx((1.037, 4.963), abs=0.03)
