"""Questions on a text in windows: together they cover the text, and an answer is found where it stands or nowhere."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelforge.data.windows import NOWHERE, Window, WindowEncoder
from tests import tiny

LONG = " ".join(
    f"The {thing} of house {number} is {colour}."
    for number, thing, colour in ((number, tiny.THINGS[number % 4], tiny.COLOURS[number % 8]) for number in range(12))
)
QUESTION = "What colour is the boat of house 5?"
TOKENIZER = tiny.encoder_tokenizer()


def row(context: str, answer: str = "", *, question: str = QUESTION, at: int | None = None) -> dict[str, Any]:
    start = context.index(answer) if at is None else at
    answers = {"text": [answer], "answer_start": [start]} if answer else {"text": [], "answer_start": []}
    return {"context": context, "question": question, "answers": answers}


def covered(window: Window, context: str) -> str:
    """The part of the context that a window shows."""
    spans = [span for span in window.spans if span]
    return context[spans[0][0] : spans[-1][1]]


def found(window: Window, context: str) -> str:
    first, last = window.spans[window.start], window.spans[window.end]
    assert first and last
    return context[first[0] : last[1]]


def test_short_text_is_one_window_of_question_and_text() -> None:
    [window], cut = WindowEncoder(TOKENIZER, 64, 8).encode_row(row("The boat is red.", "red"))
    assert cut == 0
    expected = TOKENIZER(QUESTION, "The boat is red.")
    assert window.inputs == {name: expected[name] for name in ("input_ids", "token_type_ids")}
    assert {len(part) for part in window.inputs.values()} == {len(window.spans)}
    assert covered(window, "The boat is red.") == "The boat is red."
    assert found(window, "The boat is red.").strip() == "red"


def test_question_and_special_tokens_are_no_part_of_the_context() -> None:
    [window], _ = WindowEncoder(TOKENIZER, 64, 8).encode_row(row("The boat is red.", "red", question="red red"))
    inside = [kind == 1 for kind in window.inputs["token_type_ids"]]
    assert [span is not None for span in window.spans[:-1]] == inside[:-1]
    assert window.spans[0] is None and window.spans[-1] is None  # [CLS], and the last [SEP]


@pytest.mark.parametrize("max_length", [24, 32, 64])
@pytest.mark.parametrize("stride", [0, 3, 8])
def test_windows_cover_the_whole_text_and_overlap_by_the_stride(max_length: int, stride: int) -> None:
    encoder = WindowEncoder(TOKENIZER, max_length, stride)
    windows, cut = encoder.encode_row(row(LONG, question="Which?"))
    assert len(windows) > 1 and cut == 0
    assert all(len(window.spans) <= max_length for window in windows)
    parts = [[span for span in window.spans if span] for window in windows]
    for before, after in itertools.pairwise(parts):
        # by half a window at most: each must bring something new
        assert len({*before} & {*after}) == min(stride, (len(parts[0]) - 1) // 2)
    everything = sorted({span for part in parts for span in part})
    whole = TOKENIZER(LONG, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    assert everything == sorted(set(whole))


def test_answer_is_marked_in_the_windows_that_hold_all_of_it_and_in_no_other() -> None:
    windows, _ = WindowEncoder(TOKENIZER, 40, 10).encode_row(row(LONG, "house 5 is brown"))
    holding = ["house 5 is brown" in covered(window, LONG) for window in windows]
    assert any(holding) and not all(holding)
    for window, holds in zip(windows, holding, strict=True):
        assert (window.start != NOWHERE) is (window.end != NOWHERE) is holds
        assert not holds or found(window, LONG).strip() == "house 5 is brown"


def test_answer_across_the_border_of_two_windows_is_nowhere() -> None:
    encoder = WindowEncoder(TOKENIZER, 40, 0)
    windows, _ = encoder.encode_row(row(LONG, question="Which?"))
    border = next(span for span in windows[1].spans if span)[0]
    answer = LONG[border - 6 : border + 6]
    windows, _ = encoder.encode_row(row(LONG, answer, question="Which?", at=border - 6))
    assert {(window.start, window.end) for window in windows} == {(NOWHERE, NOWHERE)}


def test_question_without_an_answer_is_nowhere_in_every_window() -> None:
    windows, _ = WindowEncoder(TOKENIZER, 40, 8).encode_row(row(LONG))
    assert {(window.start, window.end) for window in windows} == {(NOWHERE, NOWHERE)}
    asked, _ = WindowEncoder(TOKENIZER, 40, 8).encode_row({"context": LONG, "question": QUESTION})
    assert asked == windows  # what inference gives has no answers at all


def test_of_several_places_the_given_one_is_marked() -> None:
    context = "red red red"
    for place in (0, 4, 8):
        [window], _ = WindowEncoder(TOKENIZER, 64, 8).encode_row(row(context, "red", at=place))
        first = window.spans[window.start]
        assert first and first[0] <= place < first[1]


@pytest.mark.parametrize("max_length", [8, 9, 12, 24, 40])
def test_overlong_question_leaves_room_for_the_text_and_is_counted(max_length: int) -> None:
    question = "Why is it so, and what " * 30
    windows, cut = WindowEncoder(TOKENIZER, max_length, 128).encode_row(row(LONG, "brown", question=question))
    asked = len(TOKENIZER(question, add_special_tokens=False)["input_ids"])
    for window in windows:
        kept = window.inputs["token_type_ids"].count(0) - 2  # [CLS] and [SEP]
        assert 1 <= kept == asked - cut
        assert any(window.spans)
        assert len(window.spans) <= max_length
    assert any(window.start != NOWHERE for window in windows)


def test_stride_wider_than_the_text_of_a_window_still_gets_through_it() -> None:
    windows, _ = WindowEncoder(TOKENIZER, 32, 8192).encode_row(row(LONG))
    assert len(windows) < 400
    assert covered(windows[-1], LONG).endswith(LONG[-1])


def test_model_without_token_types_gets_none() -> None:
    plain = tiny.encoder_tokenizer()
    plain.model_input_names = ["input_ids", "attention_mask"]
    [window], _ = WindowEncoder(plain, 64, 8).encode_row(row("The boat is red.", "red"))
    assert window.inputs.keys() == {"input_ids"}


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=120)


@settings(deadline=None, database=None, derandomize=True, max_examples=150)
@given(
    context=st.one_of(TEXTS, st.integers(1, 11).map(lambda count: LONG[: count * 25])),
    question=TEXTS,
    places=st.tuples(st.integers(0, 300), st.integers(1, 12)),
    max_length=st.integers(8, 64),
    stride=st.integers(0, 40),
)
def test_every_answer_that_fits_into_the_overlap_is_whole_in_some_window(
    context: str, question: str, places: tuple[int, int], max_length: int, stride: int
) -> None:
    start = places[0] % len(context)
    answer = context[start : start + places[1]]
    encoder = WindowEncoder(TOKENIZER, max_length, stride)
    windows, _ = encoder.encode_row(row(context, answer, question=question, at=start))
    marked = [window for window in windows if window.start != NOWHERE]
    for window in windows:
        assert len(window.spans) <= max_length
        assert all(span is None or 0 <= span[0] < span[1] <= len(context) for span in window.spans)
    for window in marked:
        assert answer in found(window, context)
    tokens = sum(
        span[1] > start and span[0] < start + len(answer)
        for span in TOKENIZER(context, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    )
    room = min(sum(span is not None for span in window.spans) for window in windows[:1])
    if len(windows) == 1 or tokens <= min(stride, max(room - 1, 0) // 2):
        assert marked
