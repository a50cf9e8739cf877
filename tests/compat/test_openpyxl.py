"""What `modelforge.compat.openpyxl` puts between openpyxl and its archive."""

from __future__ import annotations

import io
import zipfile

import openpyxl
from openpyxl.chartsheet import Chartsheet
from openpyxl.reader.excel import ExcelReader

from modelforge.compat.openpyxl import load_workbook
from tests.data.attacks import write_strings


def test_every_part_of_a_workbook_is_counted_under_its_kind() -> None:
    counts: dict[str, int] = {}
    workbook = load_workbook(io.BytesIO(write_strings(50)), counts.__setitem__)
    rows = list(workbook.worksheets[0].iter_rows(values_only=True))
    assert rows == [("question", "answer"), ("a", "b"), ("c", "d")]
    assert counts["strings"] >= 100 and set(counts) == {"sheets", "strings", "parts"}


def test_charts_are_not_read() -> None:
    workbook, file = openpyxl.Workbook(), io.BytesIO()
    workbook.create_chartsheet("chart")
    workbook.save(file)
    assert not any(isinstance(sheet, Chartsheet) for sheet in load_workbook(file, lambda kind, count: None)._sheets)


def test_openpyxl_reads_all_parts_through_the_archive_of_its_reader() -> None:
    """Were it to open them in another way, nothing would be counted."""
    reader = ExcelReader(io.BytesIO(write_strings(1)), read_only=True)
    assert isinstance(reader.archive, zipfile.ZipFile)
    for name in ("read_strings", "read_worksheets", "read_chartsheet", "read"):
        assert callable(getattr(ExcelReader, name))
