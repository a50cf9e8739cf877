"""Prompts without answers, for training by reward; a reference is what answers are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelforge.recipe import Task
from modelforge.tasks.base import Exchange, Fault, MappedRow, Repairs, Role, Shape, Texts
from modelforge.tasks.shapes.preference import read_chat
from modelforge.tasks.texts import is_usable, read_optional_text

ROLES = (
    Role(
        "prompt",
        "The prompt: text, or turns of a chat.",
        ("prompt", "prompts", "question", "query", "instruction", "problem", "messages"),
        holds="chat",
    ),
    Role("reference", "The text that answers are compared with.", ("reference", "solution", "ground_truth"), False),
    Role("system", "Standing instructions that come before the chat.", ("system", "system_prompt"), False),
)


def map_row(values: Mapping[str, Any], repairs: Repairs = frozenset()) -> tuple[MappedRow | None, list[Fault]]:
    faults: list[Fault] = []
    prompt = read_chat("prompt", values["prompt"], "user", repairs, faults)
    reference = read_optional_text("reference", values.get("reference"), repairs, faults)
    system = read_optional_text("system", values.get("system"), repairs, faults)
    if is_usable(faults) and (not prompt or prompt[-1]["role"] == "assistant"):
        problem = "The prompt ends with a turn of the assistant, so there is nothing to answer."
        faults.append(Fault("error", "prompt", problem, "Let it end with the user's turn, or remove the row."))
    if not is_usable(faults):
        return None, faults
    if system and prompt[0]["role"] != "system":
        prompt = [{"role": "system", "content": system}, *prompt]
    return {"prompt": prompt, **({"reference": reference} if reference else {})}, faults


def read_texts(row: MappedRow) -> Texts:
    system = [turn["content"] for turn in row["prompt"] if turn["role"] == "system"]
    asked = [turn["content"] for turn in row["prompt"] if turn["role"] != "system"]
    return Texts("\n".join(system), "\n".join(asked), row.get("reference", ""))


def read_exchange(row: MappedRow) -> Exchange | None:
    """The prompt and its reference, where it has one."""
    return Exchange(row["prompt"], row["reference"]) if row.get("reference") else None


SHAPE = Shape(
    name="prompts",
    title="Prompts for rewards",
    sentence="Each row is a prompt; a reward judges what the model answers.",
    task=Task.TEXT_GENERATION,
    roles=ROLES,
    methods=("grpo",),
    map_row=map_row,
    one_answer=False,
    alone=True,
)
