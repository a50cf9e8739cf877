"""Prompts: with a better and a worse answer (preference pairs), or without an answer, for training by reward.

A prompt is text or turns of a chat; of preference pairs it can also be what the two whole chats have in common, and
sharegpt has it in `conversations`. A reference is what a reward compares answers with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelforge.recipe import Task
from modelforge.tasks.base import Exchange, MappedRow, Message, Role, Shape, Texts
from modelforge.tasks.faults import Faults
from modelforge.tasks.turns import begin_with, find_last_answer, read_chat, say

SYSTEM = Role("system", "Standing instructions that come before the chat.", ("system", "system_prompt"), False)


def read_pair(values: Mapping[str, Any], faults: Faults) -> MappedRow:
    prompt = [] if values.get("prompt") is None else read_chat("prompt", values["prompt"], "user", faults)
    chosen = read_chat("chosen", values["chosen"], "assistant", faults)
    rejected = read_chat("rejected", values["rejected"], "assistant", faults)
    system = faults.read_optional_text("system", values.get("system"))
    if faults.are_fatal:
        return {}
    pairs = enumerate(zip(chosen, rejected, strict=False))
    shorter = min(len(chosen), len(rejected))
    common = next((turn for turn, (left, right) in pairs if left != right), shorter)
    if common and chosen[0]["role"] != "assistant":  # whole chats: what they share is the prompt
        prompt, chosen, rejected = chosen[:common], chosen[common:], rejected[common:]
    prompt = begin_with(system, prompt)
    if chosen == rejected:
        problem = "The better and the worse answer are identical, so the model cannot learn from them."
        faults.note("error", "rejected", problem, "Give another worse answer, or remove the row.")
    elif not prompt:
        faults.note("error", "prompt", "There is no prompt.", "Fill it in, or remove the row.")
    elif can_be_answered(prompt, faults):
        for role, answer in (("chosen", chosen), ("rejected", rejected)):
            if not answer or answer[0]["role"] != "assistant":
                problem = "This answer does not begin with a turn of the assistant."
                faults.note("error", role, problem, "Let the assistant answer the prompt, or remove the row.")
                break
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def read_prompt(values: Mapping[str, Any], faults: Faults) -> MappedRow:
    prompt = read_chat("prompt", values["prompt"], "user", faults)
    reference = faults.read_optional_text("reference", values.get("reference"))
    system = faults.read_optional_text("system", values.get("system"))
    if not faults.are_fatal:
        can_be_answered(prompt, faults)
    return {"prompt": begin_with(system, prompt), **({"reference": reference} if reference else {})}


def can_be_answered(prompt: list[Message], faults: Faults) -> bool:
    if prompt and prompt[-1]["role"] != "assistant":
        return True
    problem = "The prompt ends with a turn of the assistant, so there is nothing to answer."
    faults.note("error", "prompt", problem, "Let it end with the user's turn, or remove the row.")
    return False


def read_texts(row: MappedRow) -> Texts:
    """The answers of a pair, a labelled answer, or the reference of a prompt, follow the question."""
    system = [turn["content"] for turn in row["prompt"] if turn["role"] == "system"]
    asked = [say(turn) for turn in row["prompt"] if turn["role"] != "system"]
    answers = [say(turn) for side in ("chosen", "rejected", "completion") for turn in row.get(side, ())]
    answers += ["good" if row["label"] else "bad"] if "label" in row else []
    return Texts("\n".join(system), "\n".join(asked), "\n".join(answers) or row.get("reference", ""))


def read_exchange(row: MappedRow) -> Exchange | None:
    """The prompt and the better answer, one labelled good, or the reference, where it has one."""
    if "chosen" in row:
        return find_last_answer([*row["prompt"], *row["chosen"]])
    if "completion" in row:
        return find_last_answer([*row["prompt"], *row["completion"]]) if row["label"] else None
    return Exchange(row["prompt"], row["reference"]) if row.get("reference") else None


PREFERENCE = Shape(
    name="preference",
    title="Preference pairs",
    sentence="Each row is a prompt with a better and a worse answer.",
    task=Task.TEXT_GENERATION,
    roles=(
        Role(
            "chosen", "The better answer: text, or turns of a chat.", ("chosen", "accepted", "preferred"), holds="chat"
        ),
        Role("rejected", "The worse answer: text, or turns of a chat.", ("rejected", "dispreferred"), holds="chat"),
        Role(
            "prompt",
            "The prompt: text, or turns of a chat; not needed where both answers are whole chats.",
            ("prompt", "instruction", "question", "query", "conversations", "messages", "input"),
            required=False,
            holds="chat",
        ),
        SYSTEM,
    ),
    methods=("dpo",),
    read_row=read_pair,
    one_answer=False,
)
PROMPTS = Shape(
    name="prompts",
    title="Prompts for rewards",
    sentence="Each row is a prompt; a reward judges what the model answers.",
    task=Task.TEXT_GENERATION,
    roles=(
        Role(
            "prompt",
            "The prompt: text, or turns of a chat.",
            ("prompt", "prompts", "question", "query", "instruction", "problem", "messages"),
            holds="chat",
        ),
        Role("reference", "The text that answers are compared with.", ("reference", "solution", "ground_truth"), False),
        SYSTEM,
    ),
    methods=("grpo",),
    read_row=read_prompt,
    one_answer=False,
    alone=True,
)
