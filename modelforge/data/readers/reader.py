"""Declares a reader of one file format: how it recognises, describes and reads a file; and what readers share.

The formats are listed in the package.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from modelforge.data.limits import Limits
from modelforge.data.rows import Position, Problem, Row
from modelforge.tasks import SHAPES

SNIFFED_CHARACTERS = 1 << 20

_USUAL_NAMES = {name for shape in SHAPES.values() for role in shape.roles for name in (role.name, *role.accepts)}


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

    @property
    def length(self) -> int:
        """The number of rows."""
        return len(next(iter(self.texts.values()))) if self.texts else len(self.rows)


Take = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
"""Converts column -> array of text; None if the rows must be read one by one."""


@dataclass(frozen=True)
class Reader:
    """One file format.

    recognise: whether a file with this beginning has this format. read: path, encoding, position to update and whether
    numbers are read as written; yields all rows. describe: the outline of a file, given its limits; raises DatasetError
    if it cannot be read. binary: whether it is tried before the file is known to be text. read_blocks: path, encoding,
    position, text columns and how to convert them; yields all rows in blocks, if that is faster.
    """

    recognise: Callable[[Beginning], bool]
    read: Callable[[Path, str, Position, bool], Iterator[Row | Problem]]
    describe: Callable[[Path, str, Limits], Outline] = lambda path, encoding, limits: Outline()
    binary: bool = False
    read_blocks: Callable[[Path, str, Position, Collection[str], Take], Iterator[Block]] | None = None


def is_usual(name: str) -> bool:
    """Whether tasks declare this name of a column: ``"Question"``, ``"system prompt"``, but not ``"Dear customer"``."""
    return "_".join(re.findall(r"[^\W_]+", name.lower())) in _USUAL_NAMES


def open_text(path: Path, encoding: str, position: Position, newline: str | None = "") -> io.TextIOWrapper:
    """Open a text file that updates the position while it is read. newline: as for `open`."""
    return io.TextIOWrapper(io.BufferedReader(_TrackedFile(path, position)), encoding, newline=newline)


class _TrackedFile(io.FileIO):
    def __init__(self, path: Path, position: Position) -> None:
        super().__init__(path)
        self._position = position
        self._bytes = max(1, path.stat().st_size)

    def readinto(self, buffer: Any) -> int:
        count = super().readinto(buffer)
        self._position.bytes += count or 0
        self._position.share = min(1.0, self.tell() / self._bytes)
        return count
