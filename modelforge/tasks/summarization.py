"""Summarization: a document in, its summary out; a decoder gets one fixed instruction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelforge.recipe import Task
from modelforge.tasks.base import Fault, MappedRow, Message, Repairs, Role, Shape, TaskSpec
from modelforge.tasks.texts import is_usable, read_text

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
    chat = [{"role": "user", "content": f"{INSTRUCTION}\n\n{values['document']}"}]
    return [*chat, {"role": "assistant", "content": values["summary"]}] if "summary" in values else chat


def fill(texts: Mapping[str, Any]) -> tuple[Any, ...]:
    """Arrays of system, user and assistant, of arrays by role."""
    import pyarrow as pa
    import pyarrow.compute as pc

    documents = texts["document"]
    nothing = pa.nulls(len(documents), pa.string()).fill_null("")
    return nothing, pc.binary_join_element_wise(f"{INSTRUCTION}\n\n", documents, ""), texts["summary"]


def map_row(values: Mapping[str, Any], repairs: Repairs = frozenset()) -> tuple[MappedRow | None, list[Fault]]:
    faults: list[Fault] = []
    texts = {role: read_text(role, values[role], repairs, faults) for role in ("document", "summary")}
    return ({"messages": to_messages(texts)} if is_usable(faults) else None), faults


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
            map_row=map_row,
            fill=fill,
            form="exchange",
        ),
    ),
    metrics=("rougeL", "rouge1", "rouge2"),
    architectures=("decoder", "encoder-decoder"),
    to_messages=to_messages,
)
