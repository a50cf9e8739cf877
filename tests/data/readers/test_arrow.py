from __future__ import annotations

import datasets
import pyarrow
import pytest

from modelforge.data.readers import open_rows
from modelforge.data.rows import Problem, Row
from modelforge.errors import DatasetError
from tests.data.readers.reading import read, values

ROWS = [{"q": f"ä {n}", "turns": [{"role": "user", "n": n}], "x": None} for n in range(2500)]


@pytest.fixture(params=["file", "stream"])
def write_arrow(request, tmp_path):
    def write(table, name="a.arrow", rows_a_batch=1000):
        make = pyarrow.ipc.new_file if request.param == "file" else pyarrow.ipc.new_stream
        with pyarrow.OSFile(str(tmp_path / name), "wb") as file, make(file, table.schema) as writer:
            writer.write_table(table, rows_a_batch)
        return tmp_path / name

    return write


@pytest.mark.parametrize("rows_a_batch", [7, 1000, 10_000])
def test_rows_come_with_numbers_and_without_lines(write_arrow, rows_a_batch):
    source = open_rows(write_arrow(pyarrow.Table.from_pylist(ROWS), "a.csv", rows_a_batch))
    assert (source.format, source.encoding, source.columns) == ("arrow", "", ("q", "turns", "x"))
    assert list(source) == [Row(number, None, row) for number, row in enumerate(ROWS, start=1)]
    assert len(source.sample) == 200


def test_what_datasets_writes_is_read(tmp_path):
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    (path,) = (tmp_path / "saved").glob("*.arrow")
    assert values(path) == ROWS


def test_no_rows_are_no_fault(write_arrow):
    source = open_rows(write_arrow(pyarrow.table({"q": pyarrow.array([], pyarrow.string())})))
    assert (source.columns, list(source)) == (("q",), [])


def test_file_that_is_cut_off_is_refused_or_says_where_it_ends(write_arrow):
    path = write_arrow(pyarrow.Table.from_pylist(ROWS))
    content = path.read_bytes()
    path.write_bytes(content[:100])
    with pytest.raises(DatasetError, match="damaged or cut off"):
        open_rows(path)
    path.write_bytes(content[: len(content) * 2 // 3])
    if content.startswith(b"ARROW1"):  # what is in a file stands at its end
        with pytest.raises(DatasetError, match="damaged or cut off"):
            open_rows(path)
    else:
        *rows, last = read(path)
        assert isinstance(last, Problem)
        assert len(rows) in (1000, 2000)
        assert last.row == len(rows) + 1


def test_offsets_that_point_outside_are_a_problem_and_no_crash(write_arrow):
    table = pyarrow.table({"q": ["one", "two", "three"]})
    path = write_arrow(table)
    content = path.read_bytes()
    offsets = b"\0\0\0\0\3\0\0\0\6\0\0\0\x0b\0\0\0"
    assert content.count(offsets) == 1
    path.write_bytes(content.replace(offsets, b"\0\0\0\0\3\0\0\0\6\0\0\0\xff\xff\xff\x0f"))
    (found,) = read(path)
    assert isinstance(found, Problem)
    assert found.row == 1
