"""A row of a file, what is said about one that has something wrong with it, and how far a reader has come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from modelforge.tasks.base import name_type


class Row(NamedTuple):
    """One data row. number: counts data rows from 1. line: the line of the file (or of the sheet) where it begins, from
    1; None in formats that have no lines."""

    number: int
    line: int | None
    values: dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a file; row, line and column are None where it concerns the file as a whole."""

    severity: Literal["error", "warning"]
    row: int | None
    line: int | None
    column: str | None
    problem: str
    fix: str


@dataclass
class Position:
    """How far a reader has come: `share` of the file, from 0 to 1; readers move it on every thousand rows or so."""

    share: float = 0.0


class WrittenNumber(float):
    """A number of a JSON file that remembers how it was written: ``str()`` gives ``1.10`` back, and all of 5,000
    digits."""

    written: str

    def __new__(cls, written: str) -> WrittenNumber:
        number = super().__new__(cls, written)
        number.written = written
        return number

    def __str__(self) -> str:
        return self.written

    __repr__ = __str__


def make_row(number: int, line: int | None, value: Any) -> Row | Problem:
    """A row of a JSON value; a value that is no object is a problem."""
    if isinstance(value, dict):
        return Row(number, line, value)
    problem = f"This row is {name_type(value)}, not an object."
    return Problem("error", number, line, None, problem, 'Write it as {"prompt": "...", "response": "..."}.')
