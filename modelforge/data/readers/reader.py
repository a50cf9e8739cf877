"""What a reader of one file format is: how it knows its format, what it tells about a file, how it reads rows.

It owns the form of these declarations. Which formats there are is listed in the package itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from modelforge.data.rows import Position, Problem, Row

LONGEST_ROW = 64 << 20
"""Characters (bytes where a reader reads bytes) of one row. More is no example, but a file of another kind."""


@dataclass(frozen=True)
class Beginning:
    """How a file begins. data: its first bytes. encoding and text: "" as long as it is not known to be text; then text
    is the first million characters, with ``\\n`` for every line ending."""

    path: Path
    data: bytes
    encoding: str = ""
    text: str = ""


@dataclass(frozen=True)
class Outline:
    """What can be said about a file before its rows are read. columns: None where only the rows tell."""

    columns: tuple[str, ...] | None = None
    warnings: tuple[Problem, ...] = ()


class Block(NamedTuple):
    """Some rows that follow each other: in `rows`, or, where `take` accepted them, as what it made of their columns;
    number and line are then those of the first, and each has a line of its own."""

    rows: list[Row | Problem]
    texts: Mapping[str, Any] = {}
    number: int = 0
    line: int = 0


Take = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
"""What to make of arrays of text by column; None where the rows must be looked at one by one."""


def describe_nothing(path: Path, encoding: str) -> Outline:
    return Outline()


@dataclass(frozen=True)
class Reader:
    """One file format.

    recognise: whether a file that begins so is of this format. read: path, encoding, position to move on and whether
    numbers are wanted as written; gives all rows. describe: the outline of a file; raises DatasetError for one that
    cannot be read. binary: whether it is asked before the file is known to be text. read_blocks: path, encoding,
    position, columns of text that are wanted and what to make of them; gives all rows, many at a time, where that is
    faster.
    """

    recognise: Callable[[Beginning], bool]
    read: Callable[[Path, str, Position, bool], Iterator[Row | Problem]]
    describe: Callable[[Path, str], Outline] = describe_nothing
    binary: bool = False
    read_blocks: Callable[[Path, str, Position, Collection[str], Take], Iterator[Block]] | None = None
