"""Declares a reader of one file format: how it recognises, describes and reads a file; and what readers share.

The formats are listed in the package.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from modelforge.data.limits import Limits
from modelforge.data.rows import CleanTexts, Position, Problem, Row
from modelforge.tasks import SHAPES

SNIFFED_CHARACTERS = 1 << 20

_BLOCK_ROWS = 4096
_BLOCK_BYTES = 8 << 20
_STEP_ROWS = 16  # between two checks of a block's size

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
    """Some consecutive rows: in `rows`, or, if `take` accepted their columns, as its result in `clean`; then number is
    that of the first row, and lines, an array, those where the rows begin, 0 where there are none."""

    rows: list[Row | Problem]
    clean: CleanTexts | None = None
    number: int = 0
    lines: Any = ()

    @property
    def length(self) -> int:
        """The number of rows."""
        return len(self.rows) if self.clean is None else self.clean.length


Take = Callable[[Mapping[str, Any]], CleanTexts | None]
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


def open_text(
    path: Path, encoding: str, position: Position, newline: str | None = "", start: int = 0
) -> io.TextIOWrapper:
    """Open a text file that updates the position while it is read. newline: as for `open`. start: the byte where a
    character begins and reading does."""
    file = io.BufferedReader(_TrackedFile(path, position))
    file.seek(start)
    return io.TextIOWrapper(file, encoding, newline=newline)


def join_rows(rows: Iterable[Row | Problem], position: Position) -> Iterator[Block]:
    """All rows in blocks of at most 4,096; long rows come in smaller blocks. position: of the reader of these rows."""
    rows, block, start = iter(rows), list[Row | Problem](), 0
    while some := list(islice(rows, _STEP_ROWS)):
        block += some
        if len(block) >= _BLOCK_ROWS or position.bytes - start > _BLOCK_BYTES:
            yield Block(block)
            block, start = [], position.bytes
    if block:
        yield Block(block)


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
