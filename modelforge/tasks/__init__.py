"""The tasks. To add one, add a file and a line here."""

from __future__ import annotations

from modelforge.recipe import Task
from modelforge.tasks import extractive_question_answering, summarization, text_generation
from modelforge.tasks.base import Exchange, MappedRow, Shape, TaskSpec, Texts
from modelforge.tasks.shapes import chat, prompts

TASKS: dict[Task, TaskSpec] = {
    Task.TEXT_GENERATION: text_generation.SPEC,
    Task.SUMMARIZATION: summarization.SPEC,
    Task.EXTRACTIVE_QUESTION_ANSWERING: extractive_question_answering.SPEC,
}

SHAPES: dict[str, Shape] = {shape.name: shape for spec in TASKS.values() for shape in spec.shapes}
"""Every form that examples come in, by its name, in the order of the tasks."""

_READERS = {
    "messages": chat.read_texts,
    "text": lambda row: Texts("", "", row["text"]),
    "context": extractive_question_answering.read_texts,
    "prompt": prompts.read_texts,
}
_EXCHANGES = {"messages": chat.read_exchange, "prompt": prompts.read_exchange}


def read_texts(row: MappedRow) -> Texts:
    """The texts of a mapped row of any form."""
    for key, read in _READERS.items():
        if key in row:
            return read(row)
    raise KeyError(f"a mapped row has one of {', '.join(_READERS)}; this one has {', '.join(row)}")


def read_exchange(row: MappedRow) -> Exchange | None:
    """The prompt and the expected answer of a mapped row; None where it has no prompt, as plain text."""
    return next((read(row) for key, read in _EXCHANGES.items() if key in row), None)
