"""CSV and TSV: a header, then one row for each record, whose cells are text. Streams.

The delimiter is detected from the beginning of the text. Prose with commas is not a table.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from modelforge.data.limits import LONGEST_ROW, Limits, check_columns
from modelforge.data.readers.reader import (
    SNIFFED_CHARACTERS,
    Block,
    Outline,
    Reader,
    Take,
    is_usual,
    join_rows,
    open_text,
)
from modelforge.data.readers.table_blocks import can_divide, divide_records, find_start, read_columns
from modelforge.data.rows import Position, Problem, Row
from modelforge.errors import DatasetError

if TYPE_CHECKING:
    from _csv import Reader as Records

_DELIMITERS = (",", ";", "\t", "|")
_ONE_COLUMN = (
    "\x1f"  # the delimiter of a table with one column: the unit separator, so that commas are part of its text
)
_RATED_CHARACTERS = 1 << 16
_RATED_ROWS = 50
_MOST_WORDS = 5
_LONGEST_NAME = 64
_DECLARED = re.compile(r"sep=(.)\n")  # declares the delimiter for Excel; neither row nor header
_ONE_NAME = re.compile(r'"?[\w -]+"?')
_NUMBER = re.compile(r"[\d.,:/ +-]+")
_SPACE_BEFORE_QUOTE = re.compile(r'\s*"[^"\n]*"[,;|\t] +"')  # the header is written "question", "answer"


def describe(path: Path, encoding: str, limits: Limits) -> Outline:
    with path.open(encoding=encoding, newline="") as file:
        return Outline(_read_header(_split_file(file, path, encoding), path.name))


def read(path: Path, encoding: str, position: Position, exact_numbers: bool) -> Iterator[Row | Problem]:
    with open_text(path, encoding, position) as file:
        records = _split_file(file, path, encoding)
        columns = _read_header(records, path.name)
        yield from _read_rows(records, columns)


def read_blocks(path: Path, encoding: str, position: Position, columns: Collection[str], take: Take) -> Iterator[Block]:
    """All rows, some thousand at a time: as columns of text where `table_blocks` can read them, else one by one."""
    with open_text(path, encoding, Position()) as file:
        records = _split_file(file, path, encoding)
        names = _read_header(records, path.name)
    dialect, line, number = records.dialect, records.line_num, 0
    start = find_start(path, line)
    is_plain = can_divide(encoding, dialect.delimiter) and not dialect.skipinitialspace and not _holds_long_line(path)
    if start is None or not is_plain:
        yield from join_rows(read(path, encoding, position, exact_numbers=False), position)
        return
    for part in divide_records(path, start, dialect.delimiter, position):
        if not part.in_order:
            with open_text(path, "utf-8", position, start=part.start) as file:
                rest = csv.reader(file, dialect)
                yield from join_rows(_read_rows(rest, names, number, line), position)
            return
        found = read_columns(part, names, columns, dialect.delimiter)
        clean = None if found is None else take(found)
        if clean is not None:
            yield Block([], clean, number + 1, part.lines + line + 1)
            number += clean.length
        else:
            lines = csv.reader(io.StringIO(part.text.decode(), newline=""), dialect)
            rows = list(_read_rows(lines, names, number, line))
            yield Block(rows)
            number += len(rows)
        line += part.newlines


def _read_rows(
    records: Records, columns: tuple[str, ...], number: int = 0, line_before: int = 0
) -> Iterator[Row | Problem]:
    """The rows of records. number, line_before: how many rows and lines there are before those of `records`."""
    width = len(columns)
    while True:
        line = line_before + records.line_num + 1
        try:
            cells = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            number += 1
            yield _describe_broken(number, line, error)
            continue
        if not any(cells) or not any(cell.strip() for cell in cells):
            continue
        number += 1
        if len(cells) > width and any(cell.strip() for cell in cells[width:]):
            problem = f"This row has {len(cells)} cells, the header has {width}."
            delimiter = records.dialect.delimiter
            named = "a tab" if delimiter == "\t" else f"a {delimiter!r}"
            fix = f"Write double quotes around text that contains {named}."
            yield Problem("error", number, line, None, problem, fix)
        else:
            yield Row(number, line, dict(zip(columns, cells, strict=False)))


def _holds_long_line(path: Path) -> bool:
    """Whether a line may be longer than a row can be: then it goes on for half as much from one of these places."""
    half = LONGEST_ROW // 2
    with path.open("rb") as file:
        for place in range(0, path.stat().st_size, half):
            file.seek(place)
            if len(file.readline(half)) == half:
                return True
    return False


def _shorten_lines(file: TextIO) -> Iterator[str]:
    """The lines of a file; for a longer one than a row can be, a cell that `csv` rejects for its length."""
    for line in iter(partial(file.readline, LONGEST_ROW + 1), ""):
        if len(line) <= LONGEST_ROW:
            yield line
            continue
        rest = line
        while rest and not rest.endswith(("\n", "\r")):
            rest = file.readline(1 << 20)
        yield "x" * (LONGEST_ROW + 1)


def _split_file(file: TextIO, path: Path, encoding: str) -> Records:
    """The records of a file, which was opened with newline=""."""
    with path.open(encoding=encoding) as begin:
        sample = begin.read(_RATED_CHARACTERS)
        if "\n" not in sample.lstrip("\n"):  # the first line, which may name one column, is not whole
            sample += begin.read(SNIFFED_CHARACTERS - _RATED_CHARACTERS)
    csv.field_size_limit(LONGEST_ROW)  # the default limit is 131,072 characters
    lines = _shorten_lines(file) if _holds_long_line(path) else file  # twice as fast
    records = _split(lines, sample, _find_delimiter(sample) or ",", strict=True)
    if _DECLARED.match(sample):
        next(records)
    return records


def _split(lines: Iterable[str], sample: str, delimiter: str, *, strict: bool = False) -> Records:
    skip_space = bool(_SPACE_BEFORE_QUOTE.match(sample))
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=skip_space, strict=strict)


def _read_header(records: Records, name: str) -> tuple[str, ...]:
    try:
        cells = next(cells for cells in records if any(cell.strip() for cell in cells))
    except (csv.Error, StopIteration) as error:
        fix = "The first line must be the column names, such as: question,answer"
        raise DatasetError("The header cannot be read.", where=name, fix=fix) from error
    check_columns(len(cells), name)
    return tuple(cell.strip() or f"column {number}" for number, cell in enumerate(cells, start=1))


def _describe_broken(number: int, line: int, error: csv.Error) -> Problem:
    if "unexpected end of data" in str(error):
        problem, fix = "A quote is opened in this row and never closed.", "Close it, or write a quote as two quotes."
    elif "expected after" in str(error):
        problem, fix = "Text follows a closing quote.", "Write each quote inside a quoted cell as two quotes."
    elif "field larger" in str(error):
        problem = f"This row has more than {LONGEST_ROW:,} characters, or a quote is opened in it and never closed."
        fix = "Close the quote, or write a quote as two quotes."
    else:
        problem, fix = f"This row cannot be read: {error}.", "Fix the row, or remove it."
    return Problem("error", number, line, None, problem, fix)


def _find_delimiter(text: str) -> str | None:
    """The delimiter of a table that begins with `text`; None if it is not a table. Line endings are ``\\n``."""
    declared = _DECLARED.match(text)
    if declared:
        return declared[1]
    # One column: the first line is only its name. A heading such as "Summary" has a blank line after it.
    name, _, rest = text.lstrip("\n").partition("\n")
    if _ONE_NAME.fullmatch(name.strip()) and is_usual(name) and (rest.split("\n", 1)[0].strip() or not rest.strip()):
        return _ONE_COLUMN
    sample = text[:_RATED_CHARACTERS]
    scores = {delimiter: score for delimiter in _DELIMITERS if (score := _rate(sample, delimiter)) is not None}
    return max(scores, key=lambda delimiter: scores[delimiter]) if scores else None


def _rate(sample: str, delimiter: str) -> tuple[bool, float, float, int] | None:
    """How well a delimiter fits: a header of common names, the share of rows as wide as the header, the share of cells
    with whole quotes, the number of columns. None if it does not fit."""
    records = _split(io.StringIO(sample), sample, delimiter)
    rows = [row for row in islice(records, _RATED_ROWS) if any(cell.strip() for cell in row)] or [[]]
    if len(sample) == _RATED_CHARACTERS and len(rows) > 1:
        del rows[-1]  # it is cut off
    header = rows.pop(0)
    width = len(header)
    named = [cell.strip() for cell in header if cell.strip()]
    usual = any(is_usual(cell) for cell in named)
    if width < 2 or not named or not all(_could_be_name(cell) for cell in named):
        return None
    # Blank cells at the end of a row, beyond the header's, do not count.
    even = [len(row) >= width and not any(cell.strip() for cell in row[width:]) for row in rows]
    evenness = sum(even) / len(rows) if rows else 1.0
    # Prose has a space after every comma, tables rarely have any.
    spaced = delimiter in ",;" and all(cell.startswith(" ") for row in (header, *rows) for cell in row[1:] if cell)
    if not usual and (spaced or evenness <= 0.5):
        return None
    cells = [cell for row in rows for cell in row]
    # A cell has a single quote mark if a delimiter inside quotes was used to split it.
    well = sum(cell.count('"') != 1 for cell in cells) / len(cells) if cells else 1.0
    return usual, evenness, well, width


def _could_be_name(cell: str) -> bool:
    if len(cell) > _LONGEST_NAME or len(cell.split()) > _MOST_WORDS or "\n" in cell or _NUMBER.fullmatch(cell):
        return False
    return not cell.rstrip("\"'”»)").endswith((".", "!", "?", ":", ",", ";", "…"))


CSV = Reader(lambda begin: _find_delimiter(begin.text) not in {None, "\t"}, read, describe, read_blocks=read_blocks)
TSV = Reader(lambda begin: _find_delimiter(begin.text) == "\t", read, describe, read_blocks=read_blocks)
