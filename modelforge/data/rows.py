"""A row of a file, a problem of a row or file, and the progress of a reader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from modelforge.data.limits import NO_LIMITS, Limits
from modelforge.tasks.faults import name_type


class Row(NamedTuple):
    """One data row. number: of the data row, from 1. line: of the file (or sheet) where it begins, from 1; None for
    formats without lines."""

    number: int
    line: int | None
    values: dict[str, Any]


class CleanTexts(NamedTuple):
    """Rows without faults that are listed. texts: role -> Arrow array of strings. padded: how many texts have white
    space around them, or had."""

    texts: Mapping[str, Any]
    padded: int = 0

    @property
    def length(self) -> int:
        """The number of rows."""
        return len(next(iter(self.texts.values())))


@dataclass(frozen=True)
class Problem:
    """One problem of a file; row, line and column are None if it concerns the whole file."""

    severity: Literal["error", "warning"]
    row: int | None
    line: int | None
    column: str | None
    problem: str
    fix: str


@dataclass
class Position:
    """The progress of a reader: `share` of the file, from 0 to 1, and `bytes` of its text, updated about every thousand
    rows. limits: how much may be read."""

    limits: Limits = NO_LIMITS
    share: float = 0.0
    bytes: int = 0


class WrittenNumber(float):
    """A number of a JSON file with its original text: ``str()`` returns ``1.10``, and all of 5,000 digits."""

    written: str

    def __new__(cls, written: str) -> WrittenNumber:
        number = super().__new__(cls, written)
        number.written = written
        return number

    def __str__(self) -> str:
        return self.written

    __repr__ = __str__


def make_row(number: int, line: int | None, value: Any) -> Row | Problem:
    """A row from a JSON value, or a problem if it is not an object."""
    if isinstance(value, dict):
        return Row(number, line, value)
    problem = f"This row is {name_type(value)}, not an object."
    return Problem("error", number, line, None, problem, 'Write it as {"prompt": "...", "response": "..."}.')


def walk_values(value: Any) -> Iterator[Any]:
    """The texts and numbers in a value of a row, however deep; without recursion, so depth does not matter."""
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, Mapping | list):
            waiting.extend(inner.values() if isinstance(inner, Mapping) else inner)
        elif inner is not None:
            yield inner
