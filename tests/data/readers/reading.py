"""What the tests of all readers ask: the rows, where they stand, and what is wrong."""

from __future__ import annotations

from pathlib import Path

from modelforge.data.readers import open_rows
from modelforge.data.rows import Problem, Row


def read(path: Path, *, exact_numbers: bool = False) -> list[Row | Problem]:
    return list(open_rows(path, exact_numbers=exact_numbers))


def values(path: Path) -> list[dict]:
    """Of all rows; a test that asks for them expects no problem."""
    rows = read(path)
    assert not [row for row in rows if isinstance(row, Problem)]
    return [row.values for row in rows]


def places(path: Path) -> list[tuple[int, int | None]]:
    """Number and line of each good row."""
    return [(row.number, row.line) for row in read(path) if isinstance(row, Row)]


def problems(path: Path) -> list[Problem]:
    return [row for row in read(path) if isinstance(row, Problem)]
