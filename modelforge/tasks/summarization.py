"""Summarization: a document in, its summary out; a decoder gets one fixed instruction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelforge.recipe import Task
from modelforge.tasks.base import MappedRow, Message, Role, Shape, TaskSpec
from modelforge.tasks.faults import Faults
from modelforge.tasks.shapes import chat

INSTRUCTION = "Summarize the following text:"

ROLES = (
    Role(
        "document",
        "The text to summarize.",
        ("document", "article", "text", "dialogue", "passage", "content", "body", "report", "transcript", "source"),
    ),
    Role("summary", "The summary to learn.", ("summary", "highlights", "abstract", "tldr", "headline")),
)


def to_messages(values: Mapping[str, Any]) -> list[Message]:
    """The chat that asks for a summary; document and summary are unchanged."""
    answer = {"response": values["summary"]} if "summary" in values else {}
    return chat.to_messages({"prompt": f"{INSTRUCTION}\n\n{values['document']}", **answer})


def fill(texts: Mapping[str, Any]) -> tuple[Any, ...]:
    """Arrays of system, user and assistant, of arrays by role."""
    import pyarrow.compute as pc

    prompts = pc.binary_join_element_wise(f"{INSTRUCTION}\n\n", texts["document"], "")
    return chat.fill({"prompt": prompts, "response": texts["summary"]})


def read_row(values: Mapping[str, Any], faults: Faults) -> MappedRow:
    return {"messages": to_messages({role: faults.read_text(role, values[role]) for role in ("document", "summary")})}


def read_pair(row: MappedRow) -> tuple[str, str]:
    """(document, summary) of a mapped row, unchanged."""
    asked, answered = row["messages"]
    return asked["content"].removeprefix(f"{INSTRUCTION}\n\n"), answered["content"]


SPEC = TaskSpec(
    task=Task.SUMMARIZATION,
    title="Summarization",
    sentence="Makes a long text short.",
    shapes=(
        Shape(
            name="summary",
            title="Documents and summaries",
            sentence="Each row is a text with the summary to learn.",
            task=Task.SUMMARIZATION,
            roles=ROLES,
            methods=("sft",),
            read_row=read_row,
            fill=fill,
            form="exchange",
        ),
    ),
    metrics=("rougeL", "rouge1", "rouge2"),
    architectures=("decoder", "encoder-decoder"),
    to_messages=to_messages,
)
