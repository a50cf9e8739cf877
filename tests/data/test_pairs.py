"""Source and target as an encoder-decoder takes them: apart, each with its end, cut ones too."""

from __future__ import annotations

from typing import Any

import pytest

from modelforge.data.encode import PairEncoder
from tests import tiny

TOKENIZER = tiny.text_to_text_tokenizer()
DOCUMENT, SUMMARY = "The lamp of house 0 is red. " * 4, "The lamp is red, and so is the door."


def ids(text: str) -> list[int]:
    return list(TOKENIZER(text, add_special_tokens=False)["input_ids"])


def test_both_sides_are_whole_and_end_as_the_tokenizer_ends_a_text() -> None:
    pair = PairEncoder(TOKENIZER, 512, 512).encode(DOCUMENT, SUMMARY)
    assert pair.input_ids == [*ids(DOCUMENT), TOKENIZER.eos_token_id]
    assert pair.labels == [*ids(SUMMARY), TOKENIZER.eos_token_id]
    assert pair.cut == 0


@pytest.mark.parametrize(("source", "target"), [(8, 512), (512, 4), (8, 4)])
def test_what_is_too_long_is_cut_and_counted_and_keeps_its_end(source: int, target: int) -> None:
    pair = PairEncoder(TOKENIZER, source, target).encode(DOCUMENT, SUMMARY)
    for side, text, most in ((pair.input_ids, DOCUMENT, source), (pair.labels, SUMMARY, target)):
        assert len(side) == min(most, len(ids(text)) + 1)
        assert side[-1] == TOKENIZER.eos_token_id
        assert side[:-1] == ids(text)[: len(side) - 1]
    assert pair.cut == len(ids(DOCUMENT)) + 1 - len(pair.input_ids) + len(ids(SUMMARY)) + 1 - len(pair.labels) > 0


def test_text_that_just_fits_is_not_cut() -> None:
    most = len(ids(DOCUMENT)) + 1
    assert PairEncoder(TOKENIZER, most, 512).encode(DOCUMENT, SUMMARY).cut == 0
    assert PairEncoder(TOKENIZER, most - 1, 512).encode(DOCUMENT, SUMMARY).cut == 1


def test_tokenizer_that_ends_no_text_gets_no_end_out_of_nothing() -> None:
    plain = tiny.tokenizer()
    pair = PairEncoder(plain, 8, 4).encode(DOCUMENT, SUMMARY)
    assert pair.input_ids == ids(DOCUMENT)[:8] and pair.labels == ids(SUMMARY)[:4]


def test_summary_may_be_empty_where_there_is_none_yet() -> None:
    pair = PairEncoder(TOKENIZER, 512, 512).encode(DOCUMENT, "")
    assert pair.labels == [TOKENIZER.eos_token_id]
    assert pair.input_ids == PairEncoder(TOKENIZER, 512, 512).encode(DOCUMENT, SUMMARY).input_ids


def word_tokenizer() -> Any:
    """One that knows a few words and no other characters, as SentencePiece vocabularies do."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "lamp": 1, "red": 2, "</s>": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", eos_token="</s>")


@pytest.mark.parametrize(("source", "target", "told"), [("red", "lamp", 0), ("red", "Ü", 1), ("Ü", "red", 1)])
def test_characters_that_the_tokenizer_does_not_know_are_told(source: str, target: str, told: int) -> None:
    losses = PairEncoder(word_tokenizer(), 64, 64).losses(source, target)
    assert len(losses) == told
    assert all("does not know some characters" in sentence and sentence.endswith(".") for sentence in losses)


def test_tokenizer_of_bytes_knows_them_all() -> None:
    assert PairEncoder(TOKENIZER, 64, 64).losses("Ü 👩\u200d👩 \u0000", "龘") == []
