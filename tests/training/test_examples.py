"""From mapped rows to what the trainer is given, whatever form the rows have; and what was lost on the way."""

from __future__ import annotations

import random
from typing import Any

import pytest

from modelforge.data.encode import ChatEncoder
from modelforge.errors import DatasetError, TrainingError
from modelforge.recipe import Recipe
from modelforge.training import samples
from modelforge.training.examples import Examples, encode_examples
from modelforge.training.methods.sft_decoder import make_encoder
from tests import tiny

CALL = {"id": "call00001", "type": "function", "function": {"name": "look", "arguments": {"house": 1}}}
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]


def tool_row(*, answered: bool = True) -> dict[str, Any]:
    asked = {"role": "user", "content": "What colour?"}
    calling = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    answer = [{"role": "tool", "content": "red"}, {"role": "assistant", "content": "It is red."}]
    return {"messages": [asked, calling, *(answer if answered else [])], "tools": TOOLS}


def unlike_rows(count: int) -> list[dict[str, Any]]:
    """Rows that have few words in common: those that are alike are not held out from each other."""
    letters = random.Random(0)
    words = ["".join(letters.choices("abcdefgh", k=6)) for _ in range(200)]
    return [{"messages": tiny.messages(*(" ".join(letters.sample(words, 8)) for _ in "qa"))} for _ in range(count)]


def encode(rows: list[dict[str, Any]], eval_rows: list[dict[str, Any]] | None = None, **settings: Any) -> Examples:
    recipe = Recipe().with_settings(settings)
    return encode_examples(rows, make_encoder(tiny.tokenizer(), recipe, tiny.config()), recipe, eval_rows)


def test_rows_to_measure_with_are_those_that_were_given_and_all_others_are_trained_on() -> None:
    rows, measured = tiny.rows(16), tiny.rows(20)[16:]
    examples = encode(rows, measured, eval_split=0.25)
    encoder = ChatEncoder(tiny.tokenizer(), 512)
    expected = [[encoder.encode_row(row).input_ids for row in some] for some in (rows, measured)]
    assert [[row["input_ids"] for row in some] for some in (examples.train, examples.evaluation)] == expected
    assert examples.counts == {"train_rows": 16, "eval_rows": 4}
    assert examples.shown == measured
    assert examples.warnings == []


def test_without_rows_of_their_own_a_share_is_held_out() -> None:
    examples = encode(unlike_rows(16), eval_split=0.25)
    assert examples.counts == {"train_rows": 12, "eval_rows": 4}
    assert len(examples.shown) == 4


def test_no_rows_to_measure_with_is_told() -> None:
    rows = tiny.rows(4)
    for examples in (encode(rows, []), encode(rows, eval_split=0)):
        assert (len(examples.train), examples.evaluation, examples.shown) == (4, [], rows)
        assert "held out" in examples.warnings[-1]


def test_rows_to_measure_with_are_cut_and_counted_too() -> None:
    long = {"messages": tiny.messages("Long?", "red " * 200)}
    examples = encode(tiny.rows(4), [long], max_length=64)
    assert (examples.cut_rows, len(examples.evaluation[0]["input_ids"])) == (1, 64)


def test_plain_text_is_learnt_whole() -> None:
    rows = [{"text": row["messages"][0]["content"] + "\n"} for row in unlike_rows(8)]
    examples = encode(rows, eval_split=0.25)
    assert examples.counts == {"train_rows": 6, "eval_rows": 2}
    for row in [*examples.train, *examples.evaluation]:
        assert row["labels"] == row["input_ids"]
        assert row["input_ids"][-1] == tiny.tokenizer().eos_token_id


def test_text_of_one_token_has_nothing_to_learn_but_its_end() -> None:
    assert len(encode([{"text": "r"}], eval_split=0).train[0]["labels"]) == 2
    with pytest.raises(TrainingError):
        encode([{"text": ""}], eval_split=0)


def test_what_the_template_leaves_out_is_told_once_with_the_number_of_rows() -> None:
    examples = encode([*tiny.rows(4), tool_row(), tool_row()], eval_split=0)
    assert set(examples.lost.values()) == {2}
    assert len(examples.lost) == 2
    told = [line for line in examples.warnings if "chat template" in line]
    assert len(told) == 2
    assert all("2 examples" in line for line in told)


def test_example_whose_every_answer_is_left_out_is_left_out_too() -> None:
    examples = encode([*tiny.rows(4), tool_row(answered=False)], eval_split=0)
    assert (len(examples.train), examples.left_out) == (4, 1)
    assert "Left out 1 example:" in " ".join(examples.warnings)


def test_nothing_to_train_on_for_want_of_a_template_points_at_the_base_model() -> None:
    with pytest.raises(TrainingError, match="tool calls") as caught:
        encode([tool_row(answered=False)], eval_split=0)
    assert caught.value.where == "setting base_model"


def test_chat_that_the_template_refuses_is_an_error_of_the_dataset() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no system turn') }}"
    with pytest.raises(DatasetError, match="no system turn"):
        encode_examples(tiny.rows(2), make_encoder(tokenizer, Recipe(), tiny.config()), Recipe())


# ---- answers that are shown meanwhile --------------------------------------------------------------------------


def show(rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.setattr(samples, "ANSWER_TOKENS", 2)
    events: list[dict[str, Any]] = []
    emit = lambda type, **more: events.append({"type": type, **more})  # noqa: E731
    samples.show_answers(tiny.model(), tiny.tokenizer(), rows, recipe=Recipe(), step=1, emit=emit)
    return events


def test_rows_that_ask_nothing_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"messages": [*tiny.messages("Colour?", "red."), {"role": "user", "content": "nobody answers"}]}
    rows = [{"text": "The lamp is red."}, tool_row(), tool_row(answered=False), asked]
    events = show(rows, monkeypatch)
    assert [(event["prompt"], event["expected"]) for event in events] == [("Colour?", "red.")]
    assert show([{"text": "The lamp is red."}], monkeypatch) == []


def test_first_few_questions_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    events = show([{"text": "x"}, *tiny.rows(8)], monkeypatch)
    assert [event["expected"] for event in events] == [answer for _, answer in tiny.PAIRS[: samples.PROMPTS]]
