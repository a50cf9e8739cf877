from __future__ import annotations

import datetime
from functools import partial

import pyarrow
import pytest
from pyarrow import parquet

from modelforge.data.columns import guess, read_clean_arrays
from modelforge.data.readers import open_rows
from modelforge.data.rows import Problem, Row
from modelforge.errors import DatasetError
from tests.data.readers.reading import read, values

ROWS = [
    {"messages": [{"role": "user", "content": "ä\n"}], "n": 1, "x": 0.5, "yes": True, "day": datetime.date(2026, 1, 2)},
    {"messages": [], "n": None, "x": None, "yes": None, "day": None},
    {"messages": None, "n": -3, "x": float("inf"), "yes": False, "day": datetime.date(1900, 1, 2)},
]


@pytest.fixture
def write_parquet(tmp_path):
    def write(table, name="a.parquet", **options):
        parquet.write_table(table, tmp_path / name, **options)
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a"])
def test_rows_come_typed_with_numbers_and_without_lines(write_parquet, name):
    source = open_rows(write_parquet(pyarrow.Table.from_pylist(ROWS), name))
    assert (source.format, source.encoding, source.columns) == ("parquet", "", ("messages", "n", "x", "yes", "day"))
    assert list(source) == [Row(number, None, row) for number, row in enumerate(ROWS, start=1)]


def test_types_of_all_kinds_come_as_python_has_them(write_parquet):
    texts = pyarrow.array(["a", "b", "a"]).dictionary_encode()
    sequence = {"text": ["x"], "answer_start": [1]}
    columns = {
        "kind": texts,
        "long": pyarrow.array(["a", None, "c"], pyarrow.large_string()),
        "bytes": pyarrow.array([b"\xff\x00", b"", None]),
        "answers": [sequence, {"text": [], "answer_start": []}, sequence],
        "turns": [[{"role": "a"}, {"role": "b"}], [], None],
    }
    first, second, third = values(write_parquet(pyarrow.table(columns)))
    assert first == {"kind": "a", "long": "a", "bytes": b"\xff\x00", "answers": sequence, "turns": columns["turns"][0]}
    assert (second["long"], second["bytes"], second["turns"]) == (None, b"", [])
    assert (third["kind"], third["bytes"]) == ("a", None)


def test_many_row_groups_are_counted_through(write_parquet):
    path = write_parquet(pyarrow.table({"n": range(5000)}), row_group_size=700)
    assert [(row.number, row.values["n"]) for row in read(path)] == [(n + 1, n) for n in range(5000)]


def test_columns_are_known_without_a_row(write_parquet):
    source = open_rows(write_parquet(pyarrow.table({"q": pyarrow.array([], pyarrow.string())})))
    assert (source.columns, list(source)) == (("q",), [])


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_file_that_is_cut_off_is_refused(write_parquet, keep):
    path = write_parquet(pyarrow.table({"q": [str(n) for n in range(1000)]}))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DatasetError, match="damaged or cut off") as caught:
        open_rows(path)
    assert caught.value.fix


def test_damage_in_the_middle_is_a_problem_after_the_good_rows(write_parquet):
    table = pyarrow.table({"q": [f"{n}" * 50 for n in range(9000)]})
    path = write_parquet(table, row_group_size=3000, compression="zstd", use_dictionary=False)
    start = parquet.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[start + 20 : start + 400] = b"\xff" * 380
    path.write_bytes(content)
    *rows, last = read(path)
    assert isinstance(last, Problem)
    assert "damaged" in last.problem
    assert (last.row, len(rows)) == (3001, 3000)


def test_text_that_is_no_utf8_is_a_problem(write_parquet):
    array = pyarrow.StringArray.from_buffers(
        2, pyarrow.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"a\xff")
    )
    (found,) = read(write_parquet(pyarrow.table({"q": array})))
    assert isinstance(found, Problem)


def test_two_columns_of_one_name_are_refused(write_parquet):
    with pytest.raises(DatasetError, match="Two columns are named 'q'"):
        open_rows(write_parquet(pyarrow.table([[1], [2]], names=["q", "q"])))


@pytest.mark.parametrize("kind", [pyarrow.string(), pyarrow.large_string()])
def test_columns_of_text_come_as_columns_with_the_same_rows(write_parquet, kind):
    texts = [f"Straße {number}, \n{'lang' * (number % 7)}" for number in range(9000)]
    columns = {"question": pyarrow.array(texts, kind), "answer": pyarrow.array(texts[::-1], kind), "n": range(9000)}
    source = open_rows(write_parquet(pyarrow.table(columns), row_group_size=5000))
    mapping = guess(source.columns, [row.values for row in source.sample])
    blocks = list(source.blocks(tuple(mapping.columns.values()), partial(read_clean_arrays, mapping)))
    assert all(block.clean for block in blocks) and [block.number for block in blocks][:2] == [1, 4097]
    for role, column in mapping.columns.items():
        found = [text for block in blocks for text in block.clean.texts[role].to_pylist()]
        assert found == [row.values[column] for row in source]


def test_rows_with_a_fault_come_one_by_one(write_parquet):
    columns = {"question": ["Who?", None, "What?"], "answer": ["I.", "You.", " "]}
    source = open_rows(write_parquet(pyarrow.table(columns)))
    mapping = guess(source.columns, [row.values for row in source.sample])
    (block,) = source.blocks(tuple(mapping.columns.values()), partial(read_clean_arrays, mapping))
    assert block.clean is None and block.rows == list(source)
