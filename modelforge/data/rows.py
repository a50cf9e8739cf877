"""A row of a file, and what is said about one that has something wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelforge.tasks.base import Severity, name_type


@dataclass(frozen=True)
class Row:
    """One data row. number: counts data rows from 1. line: the line of the file where it begins, from 1."""

    number: int
    line: int
    values: dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a file; row, line and column are None where it concerns the file as a whole."""

    severity: Severity
    row: int | None
    line: int | None
    column: str | None
    problem: str
    fix: str


def make_row(number: int, line: int, value: Any) -> Row | Problem:
    """A row of a JSON value; a value that is no object is a problem."""
    if isinstance(value, dict):
        return Row(number, line, value)
    problem = f"This row is {name_type(value)}, not an object."
    return Problem("error", number, line, None, problem, 'Write it as {"prompt": "...", "response": "..."}.')
