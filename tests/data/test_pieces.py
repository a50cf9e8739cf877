"""Long texts in pieces: all of it, within the bound, at the ends of paragraphs, sentences or words."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelforge.data.encode import IGNORED, ChatEncoder
from modelforge.data.pieces import divide_tokens
from modelforge.recipe import Recipe, read_stored
from modelforge.training.examples import encode_examples
from modelforge.training.methods.sft_decoder import make_encoder
from tests import tiny

TOKENIZER = tiny.tokenizer()
PARAGRAPHS = "\n\n".join(" ".join(f"The {thing} is {colour}." for colour in tiny.COLOURS) for thing in tiny.THINGS)


def ids_of(text: str) -> list[int]:
    return list(TOKENIZER(text, add_special_tokens=False)["input_ids"])


def divide(text: str, room: int) -> list[str]:
    pieces = divide_tokens(TOKENIZER, text, room)
    assert [token for piece in pieces for token in piece] == ids_of(text)
    assert all(0 < len(piece) <= room for piece in pieces) and len(pieces[-1]) < room
    return [TOKENIZER.decode(piece) for piece in pieces]


def test_pieces_end_where_paragraphs_do() -> None:
    longest = max(len(ids_of(part)) for part in PARAGRAPHS.split("\n\n"))
    pieces = divide(PARAGRAPHS, longest + 4)
    assert [piece.strip() for piece in pieces] == PARAGRAPHS.split("\n\n")


def test_several_paragraphs_share_a_piece_where_they_fit() -> None:
    room = len(ids_of("\n\n".join(PARAGRAPHS.split("\n\n")[:2]))) + 4
    assert [piece.strip().count("\n\n") for piece in divide(PARAGRAPHS, room)] == [1, 1]


def test_pieces_of_a_long_paragraph_end_where_sentences_do() -> None:
    pieces = divide(PARAGRAPHS.replace("\n\n", " "), 40)
    assert len(pieces) > 3 and all(piece.strip().endswith(".") for piece in pieces)


def test_pieces_of_a_long_sentence_end_where_words_do() -> None:
    words = random.Random(0).choices(tiny.COLOURS, k=200)
    pieces = divide(" ".join(words), 30)
    assert [word for piece in pieces for word in piece.split()] == words


def test_signs_of_several_tokens_stay_whole_where_there_are_no_words() -> None:
    pieces = divide("灯塔很红" * 40, 50)
    assert "".join(pieces) == "灯塔很红" * 40 and len(pieces) > 3


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("ab .\n!é灯🎉\t"), max_size=300), st.integers(4, 40))
def test_nothing_is_lost_of_any_text(text: str, room: int) -> None:
    pieces = divide_tokens(TOKENIZER, text, room)
    assert [token for piece in pieces for token in piece] == ids_of(text)
    assert all(len(piece) <= room for piece in pieces) and len(pieces[-1]) < room


# ---- as they are trained ---------------------------------------------------------------------------------------


def encode(texts: list[str], **changes: Any) -> Any:
    recipe = Recipe().with_settings({"max_length": 32, "eval_split": 0.0, **changes})
    rows = [{"text": text} for text in texts]
    return encode_examples(rows, make_encoder(tiny.tokenizer(), recipe, tiny.config()), recipe)


def test_long_texts_are_trained_whole_and_counted() -> None:
    examples = encode([PARAGRAPHS, "The lamp is red.", PARAGRAPHS.replace("red", "blue")])
    end = TOKENIZER.eos_token_id
    expected = [
        *[*ids_of(PARAGRAPHS), end],
        *[*ids_of("The lamp is red."), end],
        *[*ids_of(PARAGRAPHS.replace("red", "blue")), end],
    ]
    assert [token for feature in examples.train for token in feature["input_ids"]] == expected
    assert all(feature["labels"] == feature["input_ids"] for feature in examples.train)
    assert max(len(feature["input_ids"]) for feature in examples.train) <= 32
    pieces = len(examples.train) - 1
    assert examples.warnings[0] == (
        f"2 long texts were divided into {pieces} pieces of at most max_length; nothing was cut off."
    )
    assert (examples.cut_rows, examples.counts["train_rows"]) == (0, 3)


def test_begin_of_text_begins_each_piece_without_a_loss() -> None:
    encoder = ChatEncoder(tiny.tokenizer(), 32)
    encoder.text_begin = [3]
    pieces = encoder.encode_pieces({"text": PARAGRAPHS})
    assert all(piece.input_ids[0] == 3 and piece.labels[0] == IGNORED for piece in pieces)
    assert max(len(piece.input_ids) for piece in pieces) <= 32


def test_text_that_just_fits_is_one_piece() -> None:
    encoder = ChatEncoder(tiny.tokenizer(), len(ids_of(PARAGRAPHS)) + 1)
    assert encoder.encode_pieces({"text": PARAGRAPHS}) == [encoder.encode_row({"text": PARAGRAPHS})]
    encoder.max_length -= 1
    assert len(encoder.encode_pieces({"text": PARAGRAPHS})) == 2


def test_recipe_of_before_cuts_as_it_did() -> None:
    old = {name: value for name, value in Recipe().model_dump(mode="json").items() if name != "long_texts"}
    stored = read_stored(old, 1)
    assert stored.recipe.long_texts == "cut" and stored.changed == {}
    assert read_stored(old, 2).recipe.long_texts == "divide"
    examples = encode([PARAGRAPHS, "The lamp is red."], long_texts="cut")
    assert len(examples.train[0]["input_ids"]) == 32
    assert (examples.cut_rows, examples.divided_rows) == (1, 0)


@pytest.mark.parametrize("max_length", [8, 9, 12])
def test_the_shortest_max_length_divides_too(max_length: int) -> None:
    examples = encode([PARAGRAPHS], max_length=max_length)
    assert sum(len(feature["input_ids"]) for feature in examples.train) == len(ids_of(PARAGRAPHS)) + 1
