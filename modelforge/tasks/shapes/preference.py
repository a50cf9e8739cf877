"""Preference pairs: a prompt with a better and a worse answer.

The prompt is text, turns, or what the two whole chats have in common; sharegpt has it in `conversations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelforge.recipe import Task
from modelforge.tasks.base import Exchange, Fault, MappedRow, Message, Repairs, Role, Shape, Texts
from modelforge.tasks.texts import is_usable, read_optional_text, read_text
from modelforge.tasks.turns import find_last_answer, read_turns

ROLES = (
    Role("chosen", "The better answer: text, or turns of a chat.", ("chosen", "accepted", "preferred"), holds="chat"),
    Role("rejected", "The worse answer: text, or turns of a chat.", ("rejected", "dispreferred"), holds="chat"),
    Role(
        "prompt",
        "The prompt: text, or turns of a chat; not needed where both answers are whole chats.",
        ("prompt", "instruction", "question", "query", "conversations", "messages", "input"),
        required=False,
        holds="chat",
    ),
    Role("system", "Standing instructions that come before the chat.", ("system", "system_prompt"), False),
)


def map_row(values: Mapping[str, Any], repairs: Repairs = frozenset()) -> tuple[MappedRow | None, list[Fault]]:
    faults: list[Fault] = []
    prompt = [] if values.get("prompt") is None else read_chat("prompt", values["prompt"], "user", repairs, faults)
    chosen = read_chat("chosen", values["chosen"], "assistant", repairs, faults)
    rejected = read_chat("rejected", values["rejected"], "assistant", repairs, faults)
    system = read_optional_text("system", values.get("system"), repairs, faults)
    if not is_usable(faults):
        return None, faults
    common = _count_common(chosen, rejected)
    if common and chosen[0]["role"] != "assistant":  # whole chats: what they share is the prompt
        prompt, chosen, rejected = chosen[:common], chosen[common:], rejected[common:]
    if system and prompt and prompt[0]["role"] != "system":
        prompt = [{"role": "system", "content": system}, *prompt]
    faults += _find_faults(prompt, chosen, rejected)
    row = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    return (row if is_usable(faults) else None), faults


def read_chat(role: str, value: Any, speaker: str, repairs: Repairs, faults: list[Fault]) -> list[Message]:
    """Turns as they are; one turn, or plain text, as a chat of one turn of that speaker."""
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list):
        text = read_text(role, value, repairs, faults)
        return [{"role": speaker, "content": text}]
    if len(value) == 1 and isinstance(value[0], Mapping):  # an answer alone is not a valid chat: add a turn before it
        found: list[Fault] = []
        turns = read_turns(role, [{"role": "user", "content": "-"}, *value], repairs, found)
        if is_usable(found):
            faults += found
            return turns[1:]
    return read_turns(role, value, repairs, faults)


def _count_common(one: list[Message], other: list[Message]) -> int:
    """How many turns the two chats share at their beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))


def _find_faults(prompt: list[Message], chosen: list[Message], rejected: list[Message]) -> list[Fault]:
    if chosen == rejected:
        problem = "The better and the worse answer are identical, so the model cannot learn from them."
        return [Fault("error", "rejected", problem, "Give another worse answer, or remove the row.")]
    if not prompt:
        return [Fault("error", "prompt", "There is no prompt.", "Fill it in, or remove the row.")]
    if prompt[-1]["role"] == "assistant":
        problem = "The prompt ends with a turn of the assistant, so there is nothing to answer."
        return [Fault("error", "prompt", problem, "Let it end with the user's turn, or remove the row.")]
    for role, answer in (("chosen", chosen), ("rejected", rejected)):
        if not answer or answer[0]["role"] != "assistant":
            problem = "This answer does not begin with a turn of the assistant."
            return [Fault("error", role, problem, "Let the assistant answer the prompt, or remove the row.")]
    return []


def read_texts(row: MappedRow) -> Texts:
    system = [turn["content"] for turn in row["prompt"] if turn["role"] == "system"]
    asked = [turn["content"] for turn in row["prompt"] if turn["role"] != "system"]
    answers = [turn["content"] for side in ("chosen", "rejected") for turn in row[side]]
    return Texts("\n".join(system), "\n".join(asked), "\n".join(answers))


def read_exchange(row: MappedRow) -> Exchange | None:
    """The prompt and the better answer."""
    return find_last_answer([*row["prompt"], *row["chosen"]])


SHAPE = Shape(
    name="preference",
    title="Preference pairs",
    sentence="Each row is a prompt with a better and a worse answer.",
    task=Task.TEXT_GENERATION,
    roles=ROLES,
    methods=("dpo",),
    map_row=map_row,
    one_answer=False,
)
