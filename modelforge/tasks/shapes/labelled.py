"""Labelled answers: a prompt, one answer, and whether it is a good one, by a label or a rating. KTO learns from good
and bad ones; as examples, the good ones alone are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelforge.recipe import Task
from modelforge.tasks.base import MappedRow, Role, Shape
from modelforge.tasks.faults import KEEP_GOOD, Faults
from modelforge.tasks.labels import LABEL_NAMES, read_label, refuse_bad_answer
from modelforge.tasks.shapes.prompts import SYSTEM, can_be_answered
from modelforge.tasks.turns import begin_with, read_chat, read_turns


def read_row(values: Mapping[str, Any], faults: Faults) -> MappedRow:
    row = _read(values, faults)
    if row and not row["label"]:
        faults.note("hint", "label", "This answer is labelled bad.", "", KEEP_GOOD)
    return row


def read_good(values: Mapping[str, Any], faults: Faults) -> MappedRow:
    """The chat of a good answer; a bad one is a fault."""
    row = _read(values, faults)
    if row:
        refuse_bad_answer("label", row["label"], faults)
    return {"messages": [*row["prompt"], *row["completion"]]} if row else {}


def _read(values: Mapping[str, Any], faults: Faults) -> MappedRow:
    label = read_label("label", values["label"], faults)
    system = faults.read_optional_text("system", values.get("system"))
    where = "messages" if "messages" in values else "completion"
    if where == "messages":
        chat = read_turns("messages", values["messages"], faults)
        prompt, completion = chat[:-1], chat[-1:]
    else:
        prompt = read_chat("prompt", values["prompt"], "user", faults)
        completion = read_chat("completion", values["completion"], "assistant", faults)
        if prompt and completion[: len(prompt)] == prompt:  # a whole chat
            completion = completion[len(prompt) :]
    if faults.are_fatal:
        return {}
    if not completion or completion[0]["role"] != "assistant":
        problem = "This answer does not begin with a turn of the assistant."
        faults.note("error", where, problem, "Let the assistant answer the prompt, or remove the row.")
    elif not prompt:
        faults.note("error", where, "There is no prompt.", "Fill it in, or remove the row.")
    else:
        can_be_answered(prompt, faults)
    return {"prompt": begin_with(system, prompt), "completion": completion, "label": label}


ROLES = (
    Role(
        "messages",
        "A whole chat whose last turn is the labelled answer.",
        ("messages", "conversations", "conversation", "chat", "turns", "dialog"),
        holds="turns",
        replaces=("prompt", "completion"),
    ),
    Role(
        "prompt",
        "The prompt: text, or turns of a chat.",
        ("prompt", "instruction", "question", "query", "user", "human", "request", "input"),
        holds="chat",
    ),
    Role(
        "completion",
        "The answer: text, or turns of a chat.",
        ("completion", "response", "output", "answer", "target", "reply", "assistant"),
        holds="chat",
    ),
    Role("label", "Whether the answer is good: yes or no, a thumb, or a rating.", LABEL_NAMES, holds="label"),
    SYSTEM,
)
SHAPE = Shape(
    name="labelled",
    title="Labelled answers",
    sentence="Each row is a prompt with an answer, and whether that answer is good.",
    task=Task.TEXT_GENERATION,
    roles=ROLES,
    methods=("kto",),
    read_row=read_row,
    one_answer=False,
    instead={"sft": f"Or set repairs: {KEEP_GOOD}, which trains on the good answers alone."},
)
GOOD = Shape(
    name="good_answers",
    title="Good ones of labelled answers",
    sentence="Each row is a prompt with an answer that is labelled good.",
    task=Task.TEXT_GENERATION,
    roles=ROLES,
    methods=("sft",),
    read_row=read_good,
)
"""The labelled answers as examples, which the repair that keeps the good ones makes of them."""
