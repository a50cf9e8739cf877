"""Summarization: a document in, its summary out, asked for in one fixed sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelforge.recipe import Task
from modelforge.tasks.base import Fault, MappedRow, Message, Role, TaskSpec, find_text_faults

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
    """The chat that asks for a summary; the document and the summary stand in it unchanged."""
    chat = [{"role": "user", "content": f"{INSTRUCTION}\n\n{values['document']}"}]
    return [*chat, {"role": "assistant", "content": values["summary"]}] if "summary" in values else chat


def map_row(values: Mapping[str, Any]) -> tuple[MappedRow | None, list[Fault]]:
    faults = find_text_faults(ROLES, values)
    return (None if faults else {"messages": to_messages(values)}), faults


SPEC = TaskSpec(
    task=Task.SUMMARIZATION,
    title="Summarization",
    sentence="Makes a long text short.",
    roles=ROLES,
    methods=("sft",),
    map_row=map_row,
    to_messages=to_messages,
)
