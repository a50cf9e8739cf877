"""Excel workbooks (.xlsx): the first sheet that is not empty; its first non-empty row is the header. Streams.

Values have Excel's types: text, numbers, dates, booleans; a formula has its saved value.
"""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelforge.data.readers.reader import Outline, Reader
from modelforge.data.rows import Position, Problem, Row
from modelforge.errors import DatasetError

if TYPE_CHECKING:
    from openpyxl.workbook import Workbook
    from openpyxl.worksheet._read_only import ReadOnlyWorksheet

_MOST_BYTES = 1 << 30  # of all parts unpacked; more than Excel's largest sheet of plain text
_SUSPICIOUS_BYTES = 256 << 20  # above this, a part with a ratio of 100 to 1 is not a table
_MOST_RATIO = 100
_MOST_LINES = 1_048_576  # of a sheet, Excel's limit
_ROWS_A_STEP = 1000
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


def describe(path: Path, encoding: str) -> Outline:
    with _open_workbook(path) as workbook:
        try:
            sheets = [sheet for sheet in workbook.worksheets if next(_read_cells(sheet), None) is not None]
            if not sheets:
                fix = "Use a table whose first row has the column names."
                raise DatasetError("This workbook has only empty sheets.", where=path.name, fix=fix)
            _, header = next(_read_cells(sheets[0]))
        except _DAMAGE as error:
            raise _describe_damage(path) from error
    columns = tuple(_name_columns(header).values())
    if len(sheets) == 1:
        return Outline(columns)
    others = ", ".join(repr(sheet.title) for sheet in sheets[1:])
    problem = f"Rows were read from the sheet {sheets[0].title!r}; not read: {others}."
    return Outline(columns, (Problem("warning", None, None, None, problem, "Save each sheet as a separate file."),))


def read(path: Path, encoding: str, position: Position, exact_numbers: bool) -> Iterator[Row | Problem]:
    number, line = 0, 0
    with _open_workbook(path) as workbook:
        try:
            sheet = next(sheet for sheet in workbook.worksheets if next(_read_cells(sheet), None) is not None)
            last_line = sheet.max_row or _MOST_LINES
            rows = _read_cells(sheet)
            columns = _name_columns(next(rows)[1])
            for number, (line, cells) in enumerate(rows, start=1):
                if number % _ROWS_A_STEP == 0:
                    position.share = min(1.0, line / last_line)
                yield Row(number, line, _name_values(columns, cells))
        except _DAMAGE as error:
            problem = f"The workbook is damaged from here on: {error}."
            yield Problem(
                "error", number + 1, line + 1, None, problem, "Save it again; the rows after this one were not read."
            )


def _read_cells(sheet: ReadOnlyWorksheet) -> Iterator[tuple[int, Cells]]:
    """The non-empty rows of a sheet, each with its number in the sheet."""
    sheet.reset_dimensions()  # the recorded size is often wrong, and rows would be cut
    for line, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
        if any(not _is_blank(cell) for cell in cells):
            yield line, cells
        elif line > _MOST_LINES:
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
def _open_workbook(path: Path) -> Iterator[Workbook]:
    import openpyxl

    _check_size(path)
    # As an open file: with a path, openpyxl checks the file extension.
    with path.open("rb") as file:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about styles and extensions, which do not matter for rows
                workbook = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
        except _DAMAGE as error:
            raise _describe_damage(path) from error
        try:
            yield workbook
        finally:
            workbook.close()


def _check_size(path: Path) -> None:
    """Checked by the recorded sizes; no more than these is read of any part."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise _describe_damage(path) from error
    unpacked, packed = sum(part.file_size for part in parts), sum(part.compress_size for part in parts)
    if unpacked > _MOST_BYTES or (unpacked > _SUSPICIOUS_BYTES and unpacked > _MOST_RATIO * packed):
        raise DatasetError(
            f"This workbook unpacks to {unpacked / 1e9:.1f} GB, which is too large.",
            where=path.name,
            fix="Save it as CSV.",
        )


def _describe_damage(path: Path) -> DatasetError:
    return DatasetError("This Excel workbook is damaged.", where=path.name, fix="Save it again, or save it as CSV.")


READER = Reader(
    lambda begin: begin.data.startswith(b"PK\x03\x04") and is_workbook(begin.path), read, describe, binary=True
)
