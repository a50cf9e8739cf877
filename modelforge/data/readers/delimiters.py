"""Detects from the beginning of a text whether it is a table, and its delimiter. Prose with commas is not a table."""

from __future__ import annotations

import csv
import io
import re
from itertools import islice
from typing import NamedTuple

from modelforge.data.readers.column_names import is_usual

ONE_COLUMN = "\x1f"
"""The delimiter of a table with one column: the unit separator, so that commas are part of its text."""

_DELIMITERS = (",", ";", "\t", "|")
_SNIFFED_CHARACTERS = 1 << 16
_SNIFFED_ROWS = 50
_MOST_WORDS = 5
_LONGEST_NAME = 64
_DECLARED = re.compile(r"sep=(.)\n")  # declares the delimiter for Excel; neither row nor header
_ONE_NAME = re.compile(r'"?[\w -]+"?')
_NUMBER = re.compile(r"[\d.,:/ +-]+")
_SPACE_BEFORE_QUOTE = re.compile(r'\s*"[^"\n]*"[,;|\t] +"')


class _Score(NamedTuple):
    """How well a delimiter fits: a header of common names, rows as wide as the header, quotes around whole cells, more
    columns."""

    usual: bool
    even: float
    quoted_well: float
    width: int


def find_delimiter(text: str) -> str | None:
    """The delimiter of a table that begins with `text`; None if it is not a table. Line endings are ``\\n``."""
    declared = _DECLARED.match(text)
    if declared:
        return declared[1]
    if _is_one_column(text):
        return ONE_COLUMN
    sample = text[:_SNIFFED_CHARACTERS]
    scores = {delimiter: score for delimiter in _DELIMITERS if (score := _rate(sample, delimiter)) is not None}
    return max(scores, key=lambda delimiter: scores[delimiter]) if scores else None


def declares_delimiter(text: str) -> bool:
    """Whether the first line declares the delimiter, such as ``sep=;``."""
    return bool(_DECLARED.match(text))


def puts_space_before_quotes(text: str) -> bool:
    """Whether the header is written ``"question", "answer"``; then the space is not part of the cell."""
    return bool(_SPACE_BEFORE_QUOTE.match(text))


def _is_one_column(text: str) -> bool:
    """Whether the first line is only a column name. A heading such as "Summary" has a blank line after it."""
    name, _, rest = text.lstrip("\n").partition("\n")
    followed = rest.split("\n", 1)[0].strip() or not rest.strip()
    return bool(_ONE_NAME.fullmatch(name.strip()) and is_usual(name) and followed)


def _rate(sample: str, delimiter: str) -> _Score | None:
    header, *rows = _split(sample, delimiter) or [[]]
    width = len(header)
    named = [cell.strip() for cell in header if cell.strip()]
    usual = any(is_usual(cell) for cell in named)
    if width < 2 or not named or not all(_could_be_name(cell) for cell in named):
        return None
    widths = [len(row) - _count_blank_end(row, width) for row in rows]
    even = sum(each == width for each in widths) / len(rows) if rows else 1.0
    # Prose has a space after every comma, tables rarely have any.
    spaced = delimiter in ",;" and all(cell.startswith(" ") for row in (header, *rows) for cell in row[1:] if cell)
    if not usual and (spaced or even <= 0.5):
        return None
    cells = [cell for row in rows for cell in row]
    # A cell has a single quote mark if a delimiter inside quotes was used to split it.
    well = sum(cell.count('"') != 1 for cell in cells) / len(cells) if cells else 1.0
    return _Score(usual, even, well, width)


def _split(sample: str, delimiter: str) -> list[list[str]]:
    skip_space = puts_space_before_quotes(sample)
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter, skipinitialspace=skip_space)
    rows = [row for row in islice(reader, _SNIFFED_ROWS) if any(cell.strip() for cell in row)]
    return rows[:-1] if len(sample) == _SNIFFED_CHARACTERS and len(rows) > 1 else rows


def _could_be_name(cell: str) -> bool:
    if len(cell) > _LONGEST_NAME or len(cell.split()) > _MOST_WORDS or "\n" in cell or _NUMBER.fullmatch(cell):
        return False
    return not cell.rstrip("\"'”»)").endswith((".", "!", "?", ":", ",", ";", "…"))


def _count_blank_end(row: list[str], width: int) -> int:
    """The number of blank cells at the end of a row beyond a width."""
    return next((index for index, cell in enumerate(reversed(row[width:])) if cell.strip()), max(0, len(row) - width))
