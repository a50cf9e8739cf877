"""What `modelforge.compat.openpyxl` puts between openpyxl and its archive."""

from __future__ import annotations

import io
import zipfile
from collections import Counter

import openpyxl
from openpyxl.chartsheet import Chartsheet
from openpyxl.reader.excel import ExcelReader

from modelforge.compat.openpyxl import load_workbook


def write_workbook() -> io.BytesIO:
    workbook, file = openpyxl.Workbook(), io.BytesIO()
    for cells in (["question", "answer"], ["a", "b"]):
        workbook.active.append(cells)
    workbook.create_chartsheet("chart")
    workbook.save(file)
    return file


def test_every_part_of_a_workbook_is_counted_under_its_kind() -> None:
    counted: Counter[str] = Counter()
    workbook = load_workbook(write_workbook(), lambda kind, count: counted.update({kind: count}))
    rows = list(workbook.worksheets[0].iter_rows(values_only=True))
    assert rows == [("question", "answer"), ("a", "b")]
    assert set(counted) == {"sheets", "strings", "parts"}
    assert not any(isinstance(sheet, Chartsheet) for sheet in workbook._sheets)  # charts are not read


def test_openpyxl_reads_all_parts_through_the_archive_of_its_reader() -> None:
    """Were it to open them in another way, nothing would be counted."""
    reader = ExcelReader(write_workbook(), read_only=True)
    assert isinstance(reader.archive, zipfile.ZipFile)
    for name in ("read_strings", "read_worksheets", "read_chartsheet", "read"):
        assert callable(getattr(ExcelReader, name))
