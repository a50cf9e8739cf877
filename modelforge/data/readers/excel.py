"""Excel workbooks (.xlsx): the first sheet that is not empty; its first non-empty row is the header. Streams.

Values have Excel's types: text, numbers, dates, booleans; a formula has its saved value.
"""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelforge.data.limits import LONGEST_ROW, Limits, check_columns, show_bytes
from modelforge.data.readers.reader import Outline, Reader
from modelforge.data.rows import Position, Problem, Row
from modelforge.errors import DatasetError

if TYPE_CHECKING:
    from openpyxl.workbook import Workbook
    from openpyxl.worksheet._read_only import ReadOnlyWorksheet

_MOST_BYTES = 1 << 30  # of all parts unpacked; more than Excel's largest sheet of plain text
_MOST_LINES = 1_048_576  # of a sheet, Excel's limit
_MOST_PARTS = 300_000  # XML elements that are neither sheets nor text, such as styles, of which Excel has 65,490
_ROWS_A_STEP = 1000
_SHOWN_SHEETS = 10
_SHOWN_NAME = 100
# What openpyxl raises if a part is broken or missing; SyntaxError comes from XML.
_DAMAGE = (zipfile.BadZipFile, zlib.error, SyntaxError, LookupError, ValueError, TypeError, EOFError, OSError)

Cells = tuple[Any, ...]


def is_workbook(path: Path) -> bool:
    """Whether a zip archive is a workbook."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False  # `archives` reports it


def describe(path: Path, encoding: str, limits: Limits) -> Outline:
    with _open_workbook(path, limits) as workbook:
        try:
            sheets = _find_filled(workbook, limits)
            if not sheets:
                fix = "Use a table whose first row has the column names."
                raise DatasetError("This workbook has only empty sheets.", where=path.name, fix=fix)
            _, header = next(_read_cells(sheets[0], limits))
        except _DAMAGE as error:
            raise _describe_damage(path) from error
    columns = tuple(_name_columns(header).values())
    check_columns(len(columns), path.name)
    if len(sheets) == 1:
        return Outline(columns)
    names = [repr(sheet.title[:_SHOWN_NAME]) for sheet in sheets[: _SHOWN_SHEETS + 1]]
    others = ", ".join(names[1:]) + (", ..." if len(sheets) > len(names) else "")
    problem = f"Rows were read from the sheet {names[0]}; not read: {others}."
    return Outline(columns, (Problem("warning", None, None, None, problem, "Save each sheet as a separate file."),))


def read(path: Path, encoding: str, position: Position, exact_numbers: bool) -> Iterator[Row | Problem]:
    number = line = 0
    with _open_workbook(path, position.limits) as workbook:
        try:
            sheet = _find_filled(workbook, position.limits)[0]
            last_line = sheet.max_row or _MOST_LINES
            rows = _read_cells(sheet, position.limits)
            columns = _name_columns(next(rows)[1])
            for number, (line, cells) in enumerate(rows, start=1):
                if number % _ROWS_A_STEP == 0:
                    position.share = min(1.0, line / last_line)
                length = sum(len(cell) for cell in cells if isinstance(cell, str))  # cells can share one long text
                position.bytes += length
                if length > LONGEST_ROW:
                    problem = f"This row has more than {LONGEST_ROW:,} characters."
                    yield Problem("error", number, line, None, problem, "Shorten its text, or remove the row.")
                else:
                    yield Row(number, line, _name_values(columns, cells))
        except _DAMAGE as error:
            problem = f"The workbook is damaged from here on: {error}."
            yield Problem(
                "error", number + 1, line + 1, None, problem, "Save it again; the rows after this one were not read."
            )


def _find_filled(workbook: Workbook, limits: Limits) -> list[ReadOnlyWorksheet]:
    """The sheets that are not empty."""
    blank = count()  # lines of all sheets
    return [sheet for sheet in workbook.worksheets if next(_read_cells(sheet, limits, blank), None) is not None]


def _read_cells(
    sheet: ReadOnlyWorksheet, limits: Limits, blank: Iterator[int] | None = None
) -> Iterator[tuple[int, Cells]]:
    """The non-empty rows of a sheet, each with its number in the sheet. blank: counts the others."""
    sheet.reset_dimensions()  # the recorded size is often wrong, and rows would be cut
    values, blank = 0, blank or count()
    for line, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
        values += len(cells)  # the last cell decides how many, even if it is the only one
        limits.check("", values=values)
        if any(not _is_blank(cell) for cell in cells):
            yield line, cells
        elif line > _MOST_LINES or next(blank) > 2 * _MOST_LINES:
            raise ValueError("it has more rows than a sheet can have")


def _name_columns(header: Cells) -> dict[int, str]:
    """position in a row -> name. Blank header cells are not columns."""
    return {place: str(cell).strip() for place, cell in enumerate(header) if not _is_blank(cell)}


def _name_values(columns: dict[int, str], cells: Cells) -> dict[str, Any]:
    values = {column: cells[place] if place < len(cells) else None for place, column in columns.items()}
    for place, cell in enumerate(cells):
        if place not in columns and not _is_blank(cell):
            values[f"column {place + 1}"] = cell  # keep values without a column name
    return values


def _is_blank(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


@contextmanager
def _open_workbook(path: Path, limits: Limits) -> Iterator[Workbook]:
    from modelforge.compat.openpyxl import load_workbook

    _check_size(path, limits)
    most = {"sheets": limits.values, "strings": 2 * limits.rows, "parts": _MOST_PARTS}

    def check(kind: str, count: int) -> None:
        if count > most[kind]:
            what = f"This workbook has more than {most[kind]:,} XML elements in its {kind}, too much for its size."
            raise DatasetError(what, where=path.name, fix="Save it as CSV.")

    # As an open file: with a path, openpyxl checks the file extension.
    with path.open("rb") as file:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about styles and extensions, which do not matter for rows
                workbook = load_workbook(file, check)
        except _DAMAGE as error:
            raise _describe_damage(path) from error
        try:
            yield workbook
        finally:
            workbook.close()


def _check_size(path: Path, limits: Limits) -> None:
    """Checked by the recorded sizes; no more than these is read of any part."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise _describe_damage(path) from error
    if not {part.compress_type for part in parts} <= {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise _describe_damage(path)  # Excel uses no other; Python unpacks their blocks however large they become
    unpacked, most = sum(part.file_size for part in parts), min(_MOST_BYTES, limits.bytes)
    if unpacked > most:
        what = (
            f"This workbook unpacks to {show_bytes(unpacked)}; at most {show_bytes(most)} are read of one of its size."
        )
        raise DatasetError(what, where=path.name, fix="Save it as CSV.")


def _describe_damage(path: Path) -> DatasetError:
    return DatasetError("This Excel workbook is damaged.", where=path.name, fix="Save it again, or save it as CSV.")


READER = Reader(
    lambda begin: begin.data.startswith(b"PK\x03\x04") and is_workbook(begin.path), read, describe, binary=True
)
