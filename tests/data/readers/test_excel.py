from __future__ import annotations

import datetime
import io
import zipfile

import openpyxl
import pytest

from modelforge.data import limits
from modelforge.data.readers import excel, open_rows
from modelforge.data.rows import Problem, Row
from modelforge.errors import DatasetError
from tests.data.readers.reading import places, read, values


@pytest.fixture
def write_excel(tmp_path):
    """write_excel({sheet: {row of the sheet: cells}}) -> path."""

    def write(sheets, name="a.xlsx"):
        workbook = openpyxl.Workbook()
        workbook.remove(workbook.active)
        for title, rows in sheets.items():
            sheet = workbook.create_sheet(title)
            for line, cells in (rows if isinstance(rows, dict) else dict(enumerate(rows, start=1))).items():
                for column, cell in enumerate(cells, start=1):
                    sheet.cell(line, column, cell)
        workbook.save(tmp_path / name)
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["a.xlsx", "a.csv", "a"])
def test_table_is_read_whatever_the_name_says(write_excel, name):
    source = open_rows(write_excel({"Sheet1": [["question", "answer"], ["Why?", 'So,\n"so".'], ["Who?", "Me"]]}, name))
    assert (source.format, source.encoding) == ("excel", "")
    assert (source.columns, source.warnings) == (("question", "answer"), ())
    assert list(source) == [
        Row(1, 2, {"question": "Why?", "answer": 'So,\n"so".'}),
        Row(2, 3, {"question": "Who?", "answer": "Me"}),
    ]


def test_line_is_the_row_of_the_sheet_and_blank_rows_are_no_rows(write_excel):
    path = write_excel({"S": {3: ["q", "a"], 4: ["1", "x"], 6: [None, "  "], 7: ["2", None], 1000: [None, "z"]}})
    assert open_rows(path).columns == ("q", "a")
    assert places(path) == [(1, 4), (2, 7), (3, 1000)]
    assert values(path) == [{"q": "1", "a": "x"}, {"q": "2", "a": None}, {"q": None, "a": "z"}]


def test_values_come_typed(write_excel):
    day = datetime.datetime(2026, 3, 4, 5, 6, 7)
    header = ["text", "whole", "part", "yes", "day", "code", "formula"]
    cells = ["ä", 12, 0.5, True, day, "007", "=1+1"]
    (row,) = values(write_excel({"S": [header, cells]}))
    assert list(row.values()) == [*cells[:-1], None]  # a formula that was never worked out has no value
    assert [type(value) for value in row.values()][:4] == [str, int, float, bool]


def test_first_sheet_that_holds_anything_is_read_and_the_others_are_named(write_excel):
    sheets = {"Empty": [], "Blank": [["  "]], "First": [["q"], ["1"]], "Second": [["r"], ["2"]], "Third": [["s"]]}
    path = write_excel(sheets)
    (warning,) = open_rows(path).warnings
    assert values(path) == [{"q": "1"}]
    assert (warning.severity, warning.row) == ("warning", None)
    assert warning.problem == "Rows were read from the sheet 'First'; not read: 'Second', 'Third'."


def test_header_ends_where_its_names_end_and_nothing_is_lost(write_excel):
    path = write_excel({"S": [["q", None, " a ", None, "  "], ["1", None, "x"], ["2", "in between", "y", "a note"]]})
    assert open_rows(path).columns == ("q", "a")
    assert values(path) == [
        {"q": "1", "a": "x"},
        {"q": "2", "a": "y", "column 2": "in between", "column 4": "a note"},
    ]


def test_header_of_numbers_names_columns(write_excel):
    assert open_rows(write_excel({"S": [["q", 2026], ["1", "x"]]})).columns == ("q", "2026")


def test_two_columns_of_one_name_are_refused(write_excel):
    with pytest.raises(DatasetError, match="Two columns are named 'q'"):
        open_rows(write_excel({"S": [["q", "a", "q "], ["1", "2", "3"]]}))


def test_workbook_without_cells_is_refused_with_a_way_out(write_excel):
    with pytest.raises(DatasetError, match="only empty sheets") as caught:
        open_rows(write_excel({"One": [], "Two": []}))
    assert caught.value.fix


def rewrite(path, change):
    """The same archive with each part changed by change(name, content)."""
    target = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    path.write_bytes(target.getvalue())


SHARED = b"""<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" count="4" uniqueCount="4">
<si><t>question</t></si><si><t>answer</t></si><si><t xml:space="preserve"> Why?&#10;</t></si>
<si><r><t>So, </t></r><r><rPr><b/></rPr><t>so.</t></r></si></sst>"""
SHEET = b"""<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>
<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>
<row r="4"><c r="A4" t="s"><v>2</v></c><c r="B4" t="s"><v>3</v></c></row></sheetData></worksheet>"""


def write_as_excel_does(path, shared):
    """With texts in a part of their own, which openpyxl reads and does not write."""
    rewrite(path, lambda name, content: SHEET if name == "xl/worksheets/sheet1.xml" else content)
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    entry = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/></Types>'.encode()
    rewrite(path, lambda name, content: content.replace(b"</Types>", entry) if "Types" in name else content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("xl/sharedStrings.xml", shared)


def test_shared_texts_are_read(write_excel):
    path = write_excel({"S": [["q"]]})
    write_as_excel_does(path, SHARED)
    assert read(path) == [Row(1, 4, {"question": " Why?\n", "answer": "So, so."})]


@pytest.mark.parametrize("shared", [SHARED[:200], SHARED.replace(b"<si><t>answer</t></si>", b"")])
def test_damaged_shared_texts_are_said(write_excel, shared):
    path = write_excel({"S": [["q"]]})
    write_as_excel_does(path, shared)
    try:
        (last,) = read(path)
        assert isinstance(last, Problem)
        assert "damaged" in last.problem
    except DatasetError as error:
        assert "damaged" in error.what


def test_wrong_size_in_the_file_cuts_no_rows(write_excel):
    path = write_excel({"S": [["q", "a"], *[[str(n), "x"] for n in range(50)]]})
    rewrite(path, lambda name, content: content.replace(b'ref="A1:B51"', b'ref="A1"'))
    assert len(values(path)) == 50
    assert values(path)[-1] == {"q": "49", "a": "x"}


@pytest.mark.parametrize("part", ["xl/workbook.xml", "xl/worksheets/sheet1.xml", "xl/styles.xml"])
def test_damaged_workbook_is_refused(write_excel, part):
    path = write_excel({"S": [["q", "a"], ["1", "x"]]})
    rewrite(path, lambda name, content: content[: len(content) // 5] if name == part else content)
    with pytest.raises(DatasetError, match="damaged") as caught:
        open_rows(path)
    assert "a.xlsx" in str(caught.value)


def test_damage_further_down_is_a_problem_after_the_good_rows(write_excel):
    path = write_excel({"S": [["q"], *[[str(n)] for n in range(100)]]})
    rewrite(path, lambda name, content: content.replace(b'<row r="51"', b"<row r=") if "sheet1" in name else content)
    *rows, last = read(path)
    assert isinstance(last, Problem)
    assert len(rows) < 100
    assert last.row == len(rows) + 1


def test_workbook_that_is_cut_off_is_refused(write_excel):
    path = write_excel({"S": [["q", "a"], ["1", "x"]]})
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DatasetError, match="damaged or cut off"):
        open_rows(path)


def test_row_numbers_beyond_any_sheet_do_not_keep_it_busy(write_excel, monkeypatch):
    monkeypatch.setattr(excel, "_MOST_LINES", 1000)
    path = write_excel({"S": [["q"], ["1"], ["2"]]})
    rewrite(path, lambda name, content: content.replace(b'<row r="3"', b'<row r="999999999999"'))
    *rows, last = read(path)
    assert isinstance(last, Problem)
    assert [row.values for row in rows] == [{"q": "1"}]


def test_workbook_made_to_fill_the_memory_is_refused_unread(write_excel, monkeypatch):
    path = write_excel({"S": [["q"], ["x" * 30_000]]})
    with monkeypatch.context() as patch:
        patch.setattr(limits.Limits, "bytes", 10_000)
        with pytest.raises(DatasetError, match="at most 10 kB"):
            open_rows(path)
    monkeypatch.setattr(excel, "_MOST_BYTES", 10_000)
    with pytest.raises(DatasetError, match="unpacks to"):
        open_rows(path)
