"""CSV and TSV: a header, then one row for each record, whose cells are text. Streams.

Tables and their delimiters are detected in `delimiters`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from modelforge.data.readers.column_names import check_unique
from modelforge.data.readers.delimiters import declares_delimiter, find_delimiter, puts_space_before_quotes
from modelforge.data.readers.reader import LONGEST_ROW, Beginning, Outline, Reader
from modelforge.data.rows import Position, Problem, Row
from modelforge.errors import DatasetError

if TYPE_CHECKING:
    from _csv import Reader as Records

_SNIFFED_CHARACTERS = 1 << 20
_ROWS_A_STEP = 1000


def recognise_csv(begin: Beginning) -> bool:
    return find_delimiter(begin.text) not in {None, "\t"}


def recognise_tsv(begin: Beginning) -> bool:
    return find_delimiter(begin.text) == "\t"


def describe(path: Path, encoding: str) -> Outline:
    with path.open(encoding=encoding, newline="") as file:
        return Outline(_read_header(_split(file, path, encoding), path.name))


def read(path: Path, encoding: str, position: Position, exact_numbers: bool) -> Iterator[Row | Problem]:
    size = max(1, path.stat().st_size)
    with path.open("rb") as raw, TextIOWrapper(raw, encoding, newline="") as file:
        records = _split(file, path, encoding)
        columns = _read_header(records, path.name)
        width = len(columns)
        number = 0
        while True:
            line = records.line_num + 1
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
            if number % _ROWS_A_STEP == 0:
                position.share = min(1.0, raw.tell() / size)
            if len(cells) > width and any(cell.strip() for cell in cells[width:]):
                problem = f"This row has {len(cells)} cells, the header has {width}."
                fix = f"Write double quotes around text that contains {_name(records.dialect.delimiter)}."
                yield Problem("error", number, line, None, problem, fix)
            else:
                yield Row(number, line, dict(zip(columns, cells, strict=False)))


def _split(file: TextIO, path: Path, encoding: str) -> Records:
    """The records of a file, which was opened with newline=""."""
    with path.open(encoding=encoding) as begin:
        sample = begin.read(_SNIFFED_CHARACTERS)
    csv.field_size_limit(LONGEST_ROW)  # the default limit is 131,072 characters
    records = csv.reader(
        file,
        delimiter=find_delimiter(sample) or ",",
        skipinitialspace=puts_space_before_quotes(sample),
        strict=True,
    )
    if declares_delimiter(sample):
        next(records)
    return records


def _read_header(records: Records, name: str) -> tuple[str, ...]:
    try:
        cells = next(cells for cells in records if any(cell.strip() for cell in cells))
    except (csv.Error, StopIteration) as error:
        fix = "The first line must be the column names, such as: question,answer"
        raise DatasetError("The header cannot be read.", where=name, fix=fix) from error
    columns = tuple(cell.strip() or f"column {number}" for number, cell in enumerate(cells, start=1))
    check_unique(columns, name)
    return columns


def _describe_broken(number: int, line: int, error: csv.Error) -> Problem:
    if "unexpected end of data" in str(error):
        problem, fix = "A quote is opened in this row and never closed.", "Close it, or write a quote as two quotes."
    elif "expected after" in str(error):
        problem, fix = "Text follows a closing quote.", "Write each quote inside a quoted cell as two quotes."
    elif "field larger" in str(error):
        problem = f"A cell is longer than {LONGEST_ROW >> 20} MB, or a quote is opened in this row and never closed."
        fix = "Close the quote, or write a quote as two quotes."
    else:
        problem, fix = f"This row cannot be read: {error}.", "Fix the row, or remove it."
    return Problem("error", number, line, None, problem, fix)


def _name(delimiter: str) -> str:
    return "a tab" if delimiter == "\t" else f"a {delimiter!r}"


CSV = Reader(recognise_csv, read, describe)
TSV = Reader(recognise_tsv, read, describe)
