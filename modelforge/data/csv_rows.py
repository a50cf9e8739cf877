"""CSV and TSV: a header, then a row for each record, whose cells are text. Streams."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from modelforge.data.rows import Problem, Row
from modelforge.errors import DatasetError

DELIMITERS = (",", ";", "\t", "|")
_SNIFFED_CHARACTERS = 1 << 16
_SNIFFED_ROWS = 50
_LONGEST_CELL = 64 << 20  # characters; the csv module's own bound is 131,072


def read_csv(path: Path, encoding: str) -> Iterator[Row | Problem]:
    delimiter = detect_delimiter(path, encoding)
    csv.field_size_limit(_LONGEST_CELL)
    with path.open(encoding=encoding, newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        columns = _read_header(reader, path.name)
        number = 0
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                number += 1
                yield _describe_broken(number, line, error)
                continue
            if not any(cell.strip() for cell in cells):
                continue
            number += 1
            if any(cell.strip() for cell in cells[len(columns) :]):
                problem = f"This row has {len(cells)} cells, the header has {len(columns)}."
                fix = f"Put double quotes around text that holds {_name(delimiter)}."
                yield Problem("error", number, line, None, problem, fix)
            else:
                yield Row(number, line, dict(zip(columns, cells, strict=False)))


def read_csv_columns(path: Path, encoding: str) -> tuple[str, ...]:
    with path.open(encoding=encoding, newline="") as file:
        return _read_header(csv.reader(file, delimiter=detect_delimiter(path, encoding), strict=True), path.name)


def detect_delimiter(path: Path, encoding: str) -> str:
    """The delimiter that splits most rows into as many cells as the header. Raises DatasetError if none splits it."""
    with path.open(encoding=encoding, newline="") as file:
        sample = file.read(_SNIFFED_CHARACTERS)
    scores = {}
    for delimiter in DELIMITERS:
        rows = _split_sample(sample, delimiter)
        width = len(rows[0]) if rows else 0
        if width > 1:
            scores[delimiter] = (sum(len(row) == width for row in rows) / len(rows), width)
    if not scores:
        raise DatasetError(
            "This is neither JSON nor a table with columns.",
            where=path.name,
            fix="Give a JSONL, JSON or CSV file; a CSV's first line names its columns, such as: question,answer",
        )
    return max(scores, key=lambda delimiter: scores[delimiter])


def _split_sample(sample: str, delimiter: str) -> list[list[str]]:
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
    rows = [row for row in islice(reader, _SNIFFED_ROWS) if row]
    return rows[:-1] if len(sample) == _SNIFFED_CHARACTERS and len(rows) > 1 else rows


def _read_header(reader: Iterator[list[str]], name: str) -> tuple[str, ...]:
    try:
        cells = next(row for row in reader if row)
    except (csv.Error, StopIteration) as error:
        fix = "The first line must name the columns, such as: question,answer"
        raise DatasetError("The header cannot be read.", where=name, fix=fix) from error
    columns = tuple(cell.strip() or f"column {number}" for number, cell in enumerate(cells, start=1))
    for column in columns:
        if columns.count(column) > 1:
            fix = "Give each column a name of its own."
            raise DatasetError(f"Two columns are called {column!r}.", where=name, fix=fix)
    return columns


def _describe_broken(number: int, line: int, error: csv.Error) -> Problem:
    if "unexpected end of data" in str(error):
        problem, fix = "A quote is opened in this row and never closed.", "Close it, or write a quote as two quotes."
    elif "expected after" in str(error):
        problem, fix = "Text follows a closing quote.", "Write each quote inside a quoted cell as two quotes."
    else:
        problem, fix = f"This row cannot be read: {error}.", "Mend the row, or remove it."
    return Problem("error", number, line, None, problem, fix)


def _name(delimiter: str) -> str:
    return "a tab" if delimiter == "\t" else f"a {delimiter!r}"
