"""Finding answers in a text: the likeliest span of all windows, within its bounds, or none where that is an answer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from modelforge.data.windows import WindowEncoder
from modelforge.models import spans
from modelforge.models.spans import Span, find_answers, pad_windows, score_spans, window_encoder
from modelforge.recipe import Recipe
from tests import tiny

TOKENIZER = tiny.encoder_tokenizer()
ASKED = [
    (f"News. {answer} {'That is all. ' * (number % 4)}", prompt) for number, (prompt, answer) in enumerate(tiny.PAIRS)
]


class Seeing:
    """A model whose head is replaced by logits that are read off the tokens: it points at marked words."""

    def __init__(self, first: str, last: str, *, nothing: float = 0.0) -> None:
        self.device = torch.device("cpu")
        self.ids = [TOKENIZER(word, add_special_tokens=False)["input_ids"] for word in (first, last)]
        self.nothing = nothing

    def __call__(self, input_ids: Any, attention_mask: Any, **_: Any) -> Any:
        from transformers.modeling_outputs import QuestionAnsweringModelOutput

        starts = torch.zeros(input_ids.shape)
        ends = torch.zeros(input_ids.shape)
        for row, ids in enumerate(input_ids.tolist()):
            for place in range(len(ids)):
                if ids[place : place + len(self.ids[0])] == self.ids[0]:
                    starts[row, place] = 9.0
                if ids[place - len(self.ids[1]) + 1 : place + 1] == self.ids[1]:
                    ends[row, place] = 9.0
        starts[:, 0] = ends[:, 0] = self.nothing
        return QuestionAnsweringModelOutput(start_logits=starts, end_logits=ends)


def find(
    model: Any, context: str, *, question: str = "?", size: int = 64, longest: int = 30, missing: bool = False
) -> Span:
    encoder = WindowEncoder(TOKENIZER, size, 8)
    [span] = find_answers(model, encoder, [(context, question)], max_answer_length=longest, may_be_missing=missing)
    return span


LONG = "The lamp of house 0 is red. " * 9 + "The boat of house 1 is blue. " + "The door of house 2 is green. " * 9


@pytest.mark.parametrize("size", range(24, 44, 3))
def test_answer_is_found_in_whichever_windows_it_stands(size: int) -> None:
    span = find(Seeing(" blue", " blue"), LONG, size=size)
    assert span.text.strip() == "blue"
    assert LONG[span.start : span.end] == span.text
    assert span.score > 0.9  # that two windows show it makes it no less likely


def test_answer_is_the_context_between_its_ends_letter_by_letter() -> None:
    context = 'It said:\n  "blue \t— GREEN {x}"!'
    span = find(Seeing("blue", "}"), context)
    assert span.text == "blue \t— GREEN {x}" == context[span.start : span.end]


def test_longer_answers_than_allowed_are_not_taken() -> None:
    context = "red lamp boat door bird red"
    words = Seeing("red", " bird")
    assert find(words, context).text == "red lamp boat door bird"
    short = find(words, context, longest=2)
    assert 0 < len(TOKENIZER(short.text, add_special_tokens=False)["input_ids"]) <= 2


def test_no_answer_is_found_only_where_there_may_be_none() -> None:
    assert find(Seeing("red", "red", nothing=20.0), "red boat", missing=False).text == "red"
    found = find(Seeing("red", "red", nothing=20.0), "red boat", missing=True)
    assert found == Span("", 0, 0, pytest.approx(1.0))
    assert found.no_answer == found.score and found.others[0].text == "red"
    seen = find(Seeing("red", "red", nothing=-20.0), "red boat", missing=True)
    assert seen.text == "red" and seen.no_answer is not None and seen.no_answer < seen.score
    assert [each.score for each in seen.others] == sorted((each.score for each in seen.others), reverse=True)
    assert all(each.text == "red boat"[each.start : each.end] for each in seen.others)
    assert find(Seeing("red", "red"), "red boat", missing=False).no_answer is None
    assert find(Seeing("red", "red", nothing=1.0), "red boat", missing=True).text == "red"


def test_text_has_an_answer_as_soon_as_one_of_its_windows_has() -> None:
    class Sure(Seeing):
        def __call__(self, input_ids: Any, **more: Any) -> Any:
            output = super().__call__(input_ids=input_ids, **more)
            lacking = output.start_logits[:, 1:].amax(1) < 9
            output.start_logits[lacking, 0] = output.end_logits[lacking, 0] = 50.0  # of its own window it is sure
            return output

    assert find(Sure(" blue", " blue"), LONG, size=32, missing=True).text.strip() == "blue"
    assert find(Sure(" pink", " pink"), LONG, size=32, missing=True).text == ""


@pytest.mark.parametrize("missing", [True, False])
def test_scores_are_probabilities_and_places_are_those_of_the_text(missing: bool) -> None:
    model = tiny.span_model().eval()
    encoder = WindowEncoder(TOKENIZER, 40, 8)
    found = find_answers(model, encoder, ASKED, max_answer_length=5, may_be_missing=missing)
    assert len({span.text for span in found}) > 3
    for span, (context, _) in zip(found, ASKED, strict=True):
        assert 0 < span.score <= 1
        assert span.text == context[span.start : span.end]
        assert span.text or missing


def test_answers_do_not_depend_on_who_else_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.span_model().eval()
    encoder = WindowEncoder(TOKENIZER, 32, 8)
    together = find_answers(model, encoder, ASKED, max_answer_length=9, may_be_missing=True)
    monkeypatch.setattr(spans, "WINDOWS_AT_ONCE", 1)
    for asked, expected in zip(ASKED, together, strict=True):
        [alone] = find_answers(model, encoder, [asked], max_answer_length=9, may_be_missing=True)
        assert (alone.text, alone.start) == (expected.text, expected.start)
        assert alone.score == pytest.approx(expected.score, abs=1e-4)


def test_best_span_is_that_of_all_pairs_of_a_start_and_an_end() -> None:
    model = tiny.span_model().eval()
    context, question = ASKED[3]
    encoder = WindowEncoder(TOKENIZER, 64, 8)
    [window], _ = encoder.encode_row({"context": context, "question": question})
    with torch.inference_mode():
        output = model(**pad_windows(TOKENIZER, [window.inputs]))
    best = max(
        (float(output.start_logits[0, first] + output.end_logits[0, last]), first, last)
        for first in range(len(window.spans))
        for last in range(first, min(first + 30, len(window.spans)))
        if window.spans[first] and window.spans[last]
    )
    span = find(model, context, question=question)
    assert (span.start, span.end) == (window.spans[best[1]][0], window.spans[best[2]][1])  # type: ignore[index]


def test_text_of_which_nothing_can_be_read_has_no_answer() -> None:
    model = tiny.span_model().eval()
    silent = tiny.encoder_tokenizer()
    from tokenizers import normalizers

    silent.backend_tokenizer.normalizer = normalizers.Replace("\u200b", "")
    [span] = find_answers(
        model, WindowEncoder(silent, 32, 8), [("\u200b", "Who?")], max_answer_length=5, may_be_missing=False
    )
    assert span == Span("", 0, 0, 0.0)


def test_each_batch_of_windows_is_a_turn() -> None:
    turns = 0

    @contextlib.contextmanager
    def turn() -> Iterator[None]:
        nonlocal turns
        turns += 1
        yield

    encoder = WindowEncoder(TOKENIZER, 64, 8)
    asked = ASKED[: spans.WINDOWS_AT_ONCE + 1]
    find_answers(tiny.span_model().eval(), encoder, asked, max_answer_length=5, may_be_missing=True, turn=turn)
    assert turns == 2


def test_windows_are_no_longer_than_the_model_can_read() -> None:
    recipe = Recipe().with_settings({"max_length": 512, "doc_stride": 7})
    encoder = window_encoder(TOKENIZER, recipe, tiny.encoder_config(max_position_embeddings=48))
    assert (encoder.max_length, encoder.doc_stride) == (48, 7)
    short = recipe.with_settings({"max_length": 16})
    assert window_encoder(TOKENIZER, short, tiny.encoder_config()).max_length == 16


def test_best_of_several_expected_answers_counts_and_silence_where_there_is_none() -> None:
    rows = [{"answers": {"text": ["the red lamp", "lamp"]}}, {"answers": {"text": []}}, {"answers": {"text": []}}]
    assert score_spans(["Lamp.", "", "red"], rows) == {"exact_match": pytest.approx(2 / 3), "f1": pytest.approx(2 / 3)}
