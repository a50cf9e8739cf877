"""Examples in the prompt (few-shot): which training rows a base model is shown, and the held-out rows after them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from modelforge.data.encode import ChatEncoder, Encoded
from modelforge.errors import DatasetError
from modelforge.models.measures import UNCUT, Trial
from modelforge.tasks import read_exchange, read_texts
from modelforge.tasks.base import MappedRow, Message

EXAMPLES = 3
MOST_TOKENS = 1024  # of all examples together
_LOOKED_AT = 200  # training rows
_CHARACTERS_PER_TOKEN = 8  # more than any text has: longer rows are not encoded at all
_TOKENS_OF_TURN = 6  # around its text, about


@dataclass(frozen=True)
class Example:
    """row: its number, from 1, in the dataset. turns: the user's and the assistant's, the last one the answer."""

    row: int
    turns: Sequence[Message]

    @property
    def answer(self) -> str:
        return str(self.turns[-1]["content"])


def choose_examples(
    rows: Sequence[MappedRow], training: Sequence[int], held_out: Sequence[MappedRow], encoder: ChatEncoder, seed: int
) -> list[Example]:
    """Up to `EXAMPLES` training rows, drawn by the seed: short ones with different answers, if there are any, and none
    with a question that is held out. training: indices of rows."""
    asked = {read_texts(dict(row)).asked for row in held_out}
    drawn = random.Random(seed).sample(list(training), min(_LOOKED_AT, len(training)))  # noqa: S311 - no secret
    fresh: list[Example] = []
    repeated: list[Example] = []
    seen: set[str] = set()
    for example in _read_short(rows, drawn, asked, encoder):
        (repeated if example.answer in seen else fresh).append(example)
        seen.add(example.answer)
        if len(fresh) == EXAMPLES:
            break
    return (fresh + repeated)[:EXAMPLES]


def _read_short(
    rows: Sequence[MappedRow], drawn: Sequence[int], asked: set[str], encoder: ChatEncoder
) -> Iterator[Example]:
    most = MOST_TOKENS // EXAMPLES
    for index in drawn:
        row = rows[index]
        exchange = read_exchange(row)
        if exchange is None or exchange.tools or read_texts(dict(row)).asked in asked:
            continue
        turns = [turn for turn in exchange.asked if turn["role"] != "system"]
        turns.append({"role": "assistant", "content": exchange.answer})
        texts = [str(turn["content"]) for turn in turns]
        if sum(map(len, texts)) > most * _CHARACTERS_PER_TOKEN or any(turn.get("tool_calls") for turn in turns):
            continue
        if sum(encoder.count_tokens(texts)) + _TOKENS_OF_TURN * len(turns) <= most:
            yield Example(index + 1, turns)


def add_examples(
    trials: Sequence[Trial], rows: Mapping[int, MappedRow], examples: Sequence[Example], encoder: ChatEncoder, most: int
) -> tuple[list[Trial], int]:
    """(the trials with the examples before their prompts, how many got fewer than all examples).

    They share their outcomes with the given ones, and the same tokens are labelled. Trials without a prompt, and those
    that have no room for one example, are left out. most: tokens of a prompt and of a row. rows: by number.
    """
    found, short = [], 0
    whole = ChatEncoder(encoder.tokenizer, UNCUT)
    for trial in trials:
        for count in range(len(examples) if trial.prompt else 0, 0, -1):
            made = _add(trial, rows[trial.outcome.row], examples[:count], whole)
            if made and max(len(made.prompt), len(made.pieces[0].input_ids)) <= most:
                found.append(made)
                short += count < len(examples)
                break
    return found, short


def _add(trial: Trial, row: MappedRow, examples: Sequence[Example], encoder: ChatEncoder) -> Trial | None:
    """None where the chat template refuses it."""
    exchange = read_exchange(row)
    assert exchange  # noqa: S101 - the trial has a prompt
    before = [turn for example in examples for turn in example.turns]
    system = [turn for turn in exchange.asked[:1] if turn["role"] == "system"]
    shown = [*system, *before, *exchange.asked[len(system) :]]
    taught = {"prompt": [*system, *before], "chosen": row["messages"][len(system) :], "tools": exchange.tools}
    try:
        encoded = encoder.encode_row(taught)
        prompt = encoder.encode_row({"prompt": shown, "tools": exchange.tools}).input_ids
    except DatasetError:
        return None
    return replace(trial, pieces=[_cut(encoded, trial.pieces[0].cut)], prompt=prompt)


def _cut(encoded: Encoded, tokens: int) -> Encoded:
    """Without as many tokens at its end as training cuts off the row."""
    length = len(encoded.input_ids) - tokens
    return Encoded(encoded.input_ids[:length], encoded.labels[:length], tokens)
