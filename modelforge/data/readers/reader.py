"""Declares a reader of one file format: how it recognises, describes and reads a file.

The formats are listed in the package.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from modelforge.data.rows import Position, Problem, Row

LONGEST_ROW = 64 << 20
"""Characters of one row, or bytes if a reader reads bytes. Anything longer is not an example."""


@dataclass(frozen=True)
class Beginning:
    """The beginning of a file. data: its first bytes. encoding and text: "" until it is known to be text; then text is
    the first million characters, with ``\\n`` for every line ending."""

    path: Path
    data: bytes
    encoding: str = ""
    text: str = ""


@dataclass(frozen=True)
class Outline:
    """What is known about a file before its rows are read. columns: None if only the rows have them."""

    columns: tuple[str, ...] | None = None
    warnings: tuple[Problem, ...] = ()


class Block(NamedTuple):
    """Some consecutive rows: in `rows`, or, if `take` accepted their columns, as its result in `texts`; then number and
    line are those of the first row, and each row is one line."""

    rows: list[Row | Problem]
    texts: Mapping[str, Any] = {}
    number: int = 0
    line: int = 0


Take = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
"""Converts column -> array of text; None if the rows must be read one by one."""


def describe_nothing(path: Path, encoding: str) -> Outline:
    return Outline()


@dataclass(frozen=True)
class Reader:
    """One file format.

    recognise: whether a file with this beginning has this format. read: path, encoding, position to update and whether
    numbers are read as written; yields all rows. describe: the outline of a file; raises DatasetError if it cannot be
    read. binary: whether it is tried before the file is known to be text. read_blocks: path, encoding, position, text
    columns and how to convert them; yields all rows in blocks, if that is faster.
    """

    recognise: Callable[[Beginning], bool]
    read: Callable[[Path, str, Position, bool], Iterator[Row | Problem]]
    describe: Callable[[Path, str], Outline] = describe_nothing
    binary: bool = False
    read_blocks: Callable[[Path, str, Position, Collection[str], Take], Iterator[Block]] | None = None
