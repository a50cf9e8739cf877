"""What each row of a file asks a model: a conversation, a document, or a question on a text, by the model's kind.

Columns are found as on the Dataset tab; those that hold answers are not needed, and not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelforge.data.columns import ColumnMapping, guess
from modelforge.data.readers import open_rows
from modelforge.data.rows import Problem, Row
from modelforge.errors import DatasetError
from modelforge.recipe import Task
from modelforge.store import ModelRecord
from modelforge.tasks import TASKS
from modelforge.tasks.base import Shape
from modelforge.tasks.faults import NUMBERS_TO_TEXT, Faults
from modelforge.tasks.turns import begin_with, find_last_answer, read_turns

ASKS = {"chat": ("messages", "prompt", "input", "system"), "summary": ("document",), "span": ("context", "question")}
"""Shape -> the roles that ask; the others hold answers."""
ANSWER, OTHER_ANSWER = "answer", "model_answer"


@dataclass(frozen=True)
class Question:
    """One row of the file. asked: {"messages": [...]}, {"document": text} or {"context", "question"}."""

    number: int
    values: Mapping[str, Any]
    asked: Mapping[str, Any]


class Questions:
    """The questions of a file. Each iteration reads it again, from the first row.

    chosen: role -> column, instead of the guess. Raises DatasetError for a file that cannot be read, or that has no
    column for what the model is asked.
    """

    def __init__(self, file: Path, record: ModelRecord, chosen: Mapping[str, str] | None = None) -> None:
        self.source = open_rows(file)
        self._task = TASKS[Task(record.task)]
        self._mapping = _map_columns(self._task.shapes[0], self.source, chosen or {})

    @property
    def columns(self) -> tuple[str, ...]:
        return self.source.columns

    @property
    def answer_column(self) -> str:
        """The new one: "answer", unless the file has its own."""
        return OTHER_ANSWER if ANSWER in self.columns else ANSWER

    def __iter__(self) -> Iterator[Question | Problem]:
        for row in self.source:
            yield row if isinstance(row, Problem) else self._read(row)

    def _read(self, row: Row) -> Question | Problem:
        values = {role: row.values.get(column) for role, column in self._mapping.columns.items()}
        faults = Faults(frozenset({NUMBERS_TO_TEXT}))
        asked = _read_asked(values, faults)
        fault = next((each for each in faults if each.is_fatal), None)
        if fault is None:
            if "prompt" in asked and self._task.to_messages:
                asked = {"messages": self._task.to_messages(asked)}
            return Question(row.number, row.values, asked)
        column = self._mapping.columns.get(fault.role)
        return Problem("error", row.number, row.line, column, fault.problem, fault.fix)


def _map_columns(shape: Shape, source: Any, chosen: Mapping[str, str]) -> ColumnMapping:
    roles = ASKS[shape.name]
    if unknown := next((role for role in chosen if role not in roles), None):
        what = f"There is no role {unknown!r} to ask with."
        raise DatasetError(what, where="mapping", fix=f"The roles are: {', '.join(roles)}.")
    found = guess(source.columns, [row.values for row in source.sample], columns=chosen, shape=shape.name)
    columns = {role: column for role, column in found.columns.items() if role in roles}
    missing = [role.name for role in shape.missing_roles({*columns, "response", "summary", "answers"})]
    if missing:
        raise DatasetError(
            f"No column holds the {missing[0]}; there are {', '.join(source.columns[:20])}.",
            where=source.path.name,
            fix=f"Name it {missing[0]!r}, or choose it: --map {missing[0]}=COLUMN.",
        )
    return ColumnMapping(shape, columns, found.reasons)


def _read_asked(values: Mapping[str, Any], faults: Faults) -> dict[str, Any]:
    system = faults.read_optional_text("system", values.get("system"))
    if "messages" not in values:
        read = {
            role: faults.read_text(role, value) for role, value in values.items() if role not in ("input", "system")
        }
        more = {"input": faults.read_optional_text("input", values.get("input")), "system": system}
        return {**read, **{role: text for role, text in more.items() if text}}
    turns = begin_with(system, read_turns("messages", values["messages"], faults))
    if not faults.are_fatal and turns and turns[-1]["role"] == "assistant":  # as in training data: answer it anew
        exchange = find_last_answer(turns)
        turns = list(exchange.asked) if exchange else []
    if not faults.are_fatal and not turns:
        faults.note("error", "messages", "There is nothing to answer.", "Let it end with the user's turn.")
    return {"messages": turns}
