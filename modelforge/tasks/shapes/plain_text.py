"""Plain text: each row is a passage that the model learns to continue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelforge.recipe import Task
from modelforge.tasks.base import Fault, MappedRow, Repairs, Role, Shape, Texts
from modelforge.tasks.texts import is_usable, read_text

ROLES = (Role("text", "A passage to learn, unchanged.", ("text", "content")),)


def map_row(values: Mapping[str, Any], repairs: Repairs = frozenset()) -> tuple[MappedRow | None, list[Fault]]:
    faults: list[Fault] = []
    text = read_text("text", values["text"], repairs, faults)
    return ({"text": text} if is_usable(faults) else None), faults


def read_texts(row: MappedRow) -> Texts:
    return Texts("", "", row["text"])


SHAPE = Shape(
    name="text",
    title="Plain text",
    sentence="Each row is a passage; the model learns to write like it.",
    task=Task.TEXT_GENERATION,
    roles=ROLES,
    methods=("sft",),
    map_row=map_row,
    fill=lambda texts: (texts["text"],),
    form="text",
    one_answer=False,
)
