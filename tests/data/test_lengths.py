"""Lengths of rows: what is counted is no less than what is trained on, and what is proposed leaves rows whole."""

from __future__ import annotations

from itertools import pairwise

import pytest

from modelforge.data import lengths as module
from modelforge.data.encode import ChatEncoder
from modelforge.data.lengths import Lengths, measure
from modelforge.recipe import Recipe
from tests import tiny
from tests.data.test_encode import TEMPLATES, TRICKY, chat, make_sentencepiece, make_tokenizer, tool_chat, tool_template

WEATHER = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def made(*tokens, rows=None, measured=None, refused=0):
    return Lengths(rows or len(tokens), measured or len(tokens) + refused, refused, tuple(sorted(tokens)))


def count(row, encoder):
    """[length as measured]"""
    return list(measure([row], encoder).tokens)


# ---- counting --------------------------------------------------------------------------------------------------


TYPED = [TRICKY["family"], TRICKY["quotes"], TRICKY["signs"], "Paris", "\n\nParis", " ", ".a"]


@pytest.mark.parametrize("typed", TYPED)
@pytest.mark.parametrize("name", [*TEMPLATES, "tools", "sentencepiece"])
def test_count_is_no_less_than_what_is_encoded_and_little_more(name, typed):
    makers = {"sentencepiece": make_sentencepiece, "tools": lambda: make_tokenizer(tool_template(thoughts=True))}
    tokenizer = makers[name]() if name in makers else make_tokenizer(TEMPLATES[name])
    encoder = ChatEncoder(tokenizer, 100_000)
    chats = [chat(typed, typed), chat("q", typed, typed, "a", "nobody answers"), chat("What is it? ", typed, "i", "i")]
    for messages in [*chats, *([tool_chat(content=typed)] if name == "tools" else [])]:
        answers = sum(message["role"] == "assistant" for message in messages)
        exact = len(encoder.encode_row({"messages": messages}).input_ids)
        (counted,) = count({"messages": messages}, encoder)
        assert exact <= counted <= exact + 3 * answers
    exact = len(encoder.encode_row({"text": typed}).input_ids)
    assert count({"text": typed}, encoder) == [exact]


def test_count_for_usual_templates_is_above_by_a_token_an_answer():
    encoder = ChatEncoder(make_tokenizer(), 512)
    messages = chat("What is the capital?", "Paris, of course.", "Of France?", "The capital of France")
    assert count({"messages": messages}, encoder) == [len(encoder.encode_row({"messages": messages}).input_ids) + 2]


def test_tools_count_too():
    encoder = ChatEncoder(make_tokenizer(tool_template()), 512)
    row = {"messages": tool_chat(), "tools": WEATHER}
    assert count(row, encoder)[0] >= len(encoder.encode_row(row).input_ids)
    assert count(row, encoder)[0] > count({"messages": tool_chat()}, encoder)[0] + 10


def test_of_a_pair_the_longer_side_counts():
    encoder = ChatEncoder(make_tokenizer(), 512)
    short, long = ([{"role": "assistant", "content": text}] for text in ("no", "The capital of France is Paris"))
    prompt = chat("Capital?")
    expected = count({"messages": [*prompt, *long]}, encoder)
    for chosen, rejected in ((short, long), (long, short)):
        assert count({"prompt": prompt, "chosen": chosen, "rejected": rejected}, encoder) == expected


def test_of_a_question_its_context_counts_and_of_a_prompt_the_header_of_the_answer():
    encoder = ChatEncoder(make_tokenizer(), 512)
    row = {"context": "The capital is Paris. ", "question": "Capital?", "answers": {"text": [], "answer_start": []}}
    (both,) = count(row, encoder)
    separate = encoder.count_tokens([row["context"], row["question"]])
    assert sum(separate) <= both <= sum(separate) + 3
    asked = encoder.tokenizer.apply_chat_template(chat("Capital?"), add_generation_prompt=True)["input_ids"]
    assert count({"prompt": chat("Capital?")}, encoder) == [len(asked)]


def test_rows_that_the_template_refuses_are_counted():
    refusing = (
        "{% for m in messages %}{{ raise_exception('no') if m['content'] == 'bad' else m['content'] }}{% endfor %}"
    )
    rows = [{"messages": chat("bad", "a")}, {"messages": chat("good", "a")}, {"messages": chat("fine", "a")}]
    found = measure(rows, ChatEncoder(make_tokenizer(refusing), 512))
    assert (found.rows, found.measured, found.refused, len(found.tokens)) == (3, 3, 1, 2)


def test_no_rows_have_no_lengths():
    found = measure([], ChatEncoder(make_tokenizer(), 512))
    assert found == Lengths(0, 0, 0, ())
    assert (found.share_cut(8), found.proposed(), found.bins()) == ((0.0, 0.0), 64, ((), ()))


# ---- which rows are measured -----------------------------------------------------------------------------------


def test_of_many_rows_evenly_spaced_ones_are_measured():
    rows = [{"text": "a " * number} for number in range(1000)]
    encoder = ChatEncoder(tiny.tokenizer(), 512)
    found = measure(rows, encoder, sampled=100)
    assert (found.rows, found.measured, found.refused) == (1000, 100, 0)
    assert found.tokens == tuple(sorted(encoder.count_tokens([rows[10 * n]["text"] + "x" for n in range(100)])))
    assert measure(rows, encoder).measured == 1000


def test_of_very_long_rows_fewer_are_measured(monkeypatch):
    monkeypatch.setattr(module, "_MOST_CHARACTERS", 1000)
    rows = [{"text": "x" * 100} for _ in range(50)]
    found = measure(rows, ChatEncoder(tiny.tokenizer(), 512))
    assert (found.rows, found.measured, len(found.tokens)) == (50, 10, 10)
    assert measure([{"text": "x" * 5000}], ChatEncoder(tiny.tokenizer(), 512)).measured == 1


def test_rows_are_read_one_by_one():
    """Rows of a large file are read from disk when they are asked for."""
    asked = []

    class Rows(list):
        def __getitem__(self, index):
            asked.append(index)
            return {"text": str(index)}

        def __iter__(self):
            raise AssertionError("all rows were read")

    measure(Rows([None] * 5000), ChatEncoder(tiny.tokenizer(), 512), sampled=50)
    assert asked == [100 * number for number in range(50)]


# ---- what a max_length cuts ------------------------------------------------------------------------------------


def test_share_that_is_cut_is_told_in_rows_and_in_tokens():
    found = made(10, 20, 30, 40)
    assert found.share_cut(40) == (0.0, 0.0)
    assert found.share_cut(30) == (0.25, 0.1)
    assert found.share_cut(15) == (0.75, (5 + 15 + 25) / 100)
    assert (found.count_cut(20), found.count_cut(19), found.count_cut(9)) == (2, 3, 4)


def test_share_that_is_cut_is_that_of_the_encoder():
    rows = [{"text": "red lamp " * (1 + number % 7)} for number in range(40)]
    found = measure(rows, ChatEncoder(tiny.tokenizer(), 512))
    encoded = [ChatEncoder(tiny.tokenizer(), 16).encode_row(row) for row in rows]
    tokens = sum(each.cut + len(each.input_ids) for each in encoded)
    assert found.share_cut(16) == (
        sum(each.cut > 0 for each in encoded) / 40,
        sum(each.cut for each in encoded) / tokens,
    )


@pytest.mark.parametrize(
    ("tokens", "proposed"),
    [
        ([1], 64),
        ([64], 64),
        ([65], 128),
        ([10] * 99 + [5000], 64),  # one in a hundred may be cut
        ([10] * 98 + [5000] * 2, 5056),
        ([10] * 98 + [5000], 5056),  # but not one in 99
        ([10] * 198 + [100, 5000], 64),
        ([200_000], 131_072),  # what a recipe accepts
    ],
)
def test_proposed_length_leaves_99_percent_whole(tokens, proposed):
    found = made(*tokens)
    assert found.proposed() == proposed
    assert Recipe(max_length=found.proposed())
    assert found.share_cut(found.proposed())[0] <= 0.01 or proposed == 131_072


def test_proposed_length_is_within_the_models_context():
    assert made(1000).proposed(512) == 512
    assert made(100).proposed(512) == 128
    assert made(1000).proposed(None) == 1024


# ---- bars ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_bars", [2, 5, 24])
@pytest.mark.parametrize(
    "tokens", [[1], [0, 0], [7] * 50, list(range(1000)), [10] * 99 + [100_000], [1, 2, 3, 131_072], [640] * 3 + [64]]
)
def test_every_row_stands_in_one_bar(tokens, max_bars):
    edges, counts = made(*tokens).bins(max_bars)
    assert len(edges) == len(counts) + 1 <= max_bars + 1
    assert list(edges) == sorted(set(edges))
    assert edges[0] == 0
    for (first, after), number in zip(pairwise(edges), counts, strict=True):
        assert number == sum(first <= token < after for token in tokens)
    assert sum(counts) == len(tokens)


def test_few_very_long_rows_share_the_last_bar():
    edges, counts = made(*range(100, 200), 50_000).bins()
    assert edges[-1] == 50_001
    assert counts[-1] == 1
    assert len({after - first for first, after in pairwise(edges[:-1])}) == 1
    assert sum(number > 0 for number in counts) > 5


# ---- in words --------------------------------------------------------------------------------------------------


def test_sentence_says_what_is_lost_and_what_to_propose():
    found = made(*[100] * 397, *[600] * 3)
    lost = 3 * 88 / (39_700 + 1800) * 100
    said = found.describe(512)
    assert (
        said
        == f"At max_length 512, 3 of 400 rows (0.8%) are cut and {lost:.1f}% of the tokens are lost. Proposed: 128."
    )
    assert found.describe(640) == "At max_length 640, none of 400 rows is cut. Proposed: 128."
    assert found.describe(128).endswith("of the tokens are lost.")  # it is what would be proposed
    assert "1 of 2 rows (50.0%) is cut" in made(10, 20).describe(15)
    assert "less than 0.1% of the tokens" in made(*[1000] * 99, 1001).describe(1000)


def test_sentence_says_that_a_part_was_measured():
    said = made(*[100] * 400, rows=10_000).describe(128)
    assert said == "At max_length 128, none of 400 rows is cut. Measured on 400 evenly spaced rows of 10000."
