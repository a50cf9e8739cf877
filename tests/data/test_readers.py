from __future__ import annotations

import gzip
import json

import pytest

from modelforge.data.readers import open_rows
from modelforge.data.rows import Problem, Row
from modelforge.errors import DatasetError


def read(path):
    return list(open_rows(path))


def places(path):
    return [(row.number, row.line) for row in read(path) if isinstance(row, Row)]


def test_jsonl_counts_rows_and_lines_apart_where_lines_are_blank(write_file):
    path = write_file("a.jsonl", '{"a": 1}\n\n{"a": 2}\n   \n{"a": 3}')
    assert open_rows(path).format == "jsonl"
    assert places(path) == [(1, 1), (2, 3), (3, 5)]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_every_line_ending_is_one_line(write_file, ending):
    path = write_file("a.jsonl", ending.join(['{"a": 1}', '{"a": 2}', '{"a": 3}']))
    assert places(path) == [(1, 1), (2, 2), (3, 3)]


def test_separators_that_are_no_line_endings_stay_in_the_text(write_file):
    text = "one\u2028two\u0085three\x0bfour"
    path = write_file("a.csv", f"q,a\n{text},x\n")
    assert read(path)[0].values == {"q": text, "a": "x"}
    path = write_file("a.jsonl", '{"q": "one\u2028two\u0085three"}\n{"q": "x"}\n')
    assert [row.values["q"] for row in read(path)] == ["one\u2028two\u0085three", "x"]


def test_pretty_printed_list_knows_the_line_of_each_row(write_file):
    path = write_file("a.json", json.dumps([{"q": "x\ny", "a": ["1", "2"]}, {"q": "z", "a": []}], indent=2))
    assert open_rows(path).format == "json"
    assert places(path) == [(1, 2), (2, 9)]


def test_list_inside_an_object_is_found(write_file):
    content = json.dumps({"version": "1", "note": {"data": [1]}, "data": [{"q": "1"}, {"q": "2"}]}, indent=1)
    path = write_file("a.json", content)
    assert [row.values for row in read(path)] == [{"q": "1"}, {"q": "2"}]
    lines = content.split("\n")
    assert [lines[line - 1].strip() for _, line in places(path)] == ["{", "{"]
    assert '"q": "1"' in lines[places(path)[0][1]]


def test_list_inside_an_object_on_one_line_is_found(write_file):
    path = write_file("a.json", '{"data": [{"q": "1"}, {"q": "2"}]}')
    assert [row.values for row in read(path)] == [{"q": "1"}, {"q": "2"}]


@pytest.mark.parametrize("indent", [None, 2])
def test_one_chat_by_itself_is_a_row_and_not_a_list_of_rows(write_file, indent):
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    path = write_file("a.json", json.dumps(row, indent=indent))
    assert [found.values for found in read(path)] == [row]


def test_objects_one_after_another_know_their_lines(write_file):
    path = write_file("a.jsonl", '{\n "q": "1"\n}\n{\n "q": "2"\n}\n\n{ "q":\n "3" }\n')
    assert open_rows(path).format == "json"
    assert [row.values["q"] for row in read(path)] == ["1", "2", "3"]
    assert places(path) == [(1, 1), (2, 4), (3, 8)]


def test_broken_object_among_several_is_reported_and_the_rest_is_read(write_file):
    path = write_file("a.json", '{\n "q": "1"\n}\n{\n "q": oops\n}\n{\n "q": "3"\n}\n')
    first, broken, last = read(path)
    assert isinstance(broken, Problem)
    assert (broken.row, broken.line) == (2, 5)
    assert (first.values, last.values, last.number, last.line) == ({"q": "1"}, {"q": "3"}, 3, 7)


def test_jsonl_with_a_broken_line_57_names_row_and_line(write_file):
    lines = [json.dumps({"q": str(n)}) for n in range(1, 101)]
    lines[56] = '{"q": "57"'
    rows = read(write_file("a.jsonl", "\n".join(lines)))
    problems = [row for row in rows if isinstance(row, Problem)]
    assert len(rows) == 100
    assert [(p.row, p.line, p.severity) for p in problems] == [(57, 57, "error")]
    assert problems[0].fix


def test_first_line_broken_is_still_jsonl(write_file):
    path = write_file("a.jsonl", '{"q": }\n{"q": "2"}\n{"q": "3"}\n')
    rows = read(path)
    assert open_rows(path).format == "jsonl"
    assert isinstance(rows[0], Problem)
    assert rows[1].values == {"q": "2"}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('[{"q": 1},\n{"q": 2},\n]', 3),
        ('[{"q": 1},\n{"q": 2}\n{"q": 3}]', 3),
        ('[{"q": 1},\n{"q": 2}', 2),
        ('[{"q": 1}]\nmore', 2),
        ('[{"q": "a\n', 1),
        ("[" * 100_000, 1),
        ('[{"q": ' + "9" * 5000 + "}]", 1),
    ],
)
def test_broken_list_is_one_problem_with_its_line(write_file, content, line):
    problems = [row for row in read(write_file("a.json", content)) if isinstance(row, Problem)]
    assert [problem.line for problem in problems] == [line]


def test_depth_of_100_000_in_a_line_is_a_problem_of_that_row(write_file):
    rows = read(write_file("a.jsonl", '{"q": "1"}\n{"q": ' + "[" * 100_000 + '\n{"q": "3"}\n'))
    assert isinstance(rows[1], Problem)
    assert "nested" in rows[1].problem
    assert rows[2].values == {"q": "3"}


@pytest.mark.parametrize("content", ["[]", "[1, 2]", '["a"]', "[[1], null]"])
def test_values_that_are_no_objects_are_problems(write_file, content):
    rows = read(write_file("a.json", content))
    assert len(rows) == len(json.loads(content))
    assert all(isinstance(row, Problem) for row in rows)


@pytest.mark.parametrize(
    ("delimiter", "format"),
    [(",", "csv"), (";", "csv"), ("|", "csv"), ("\t", "tsv")],
    ids=["comma", "semi", "bar", "tab"],
)
def test_delimiter_is_found_out(write_file, delimiter, format):
    text = f"question{delimiter}answer\n" + f"Is it, well; so?{delimiter}yes\n".replace(
        "Is it, well; so?", f'"Is it, well; so{delimiter}?"'
    )
    source = open_rows(write_file("a.txt", text * 1))
    assert (source.format, source.columns) == (format, ("question", "answer"))
    assert [row.values["answer"] for row in source] == ["yes"]


def test_csv_with_quoted_newlines_knows_the_line_of_each_row(write_file):
    path = write_file("a.csv", 'q,a\n"one\ntwo\nthree",x\n\n"say ""hi""",y\r\nz,"1\r\n2"\nlast,w\n')
    rows = read(path)
    assert places(path) == [(1, 2), (2, 6), (3, 7), (4, 9)]
    assert [row.values["q"] for row in rows] == ["one\ntwo\nthree", 'say "hi"', "z", "last"]
    assert rows[2].values["a"] == "1\r\n2"


def test_csv_keeps_text_that_looks_like_something_else(write_file):
    rows = read(write_file("a.csv", "q,a\nNA,null\n007,=cmd()\n"))
    assert [row.values for row in rows] == [{"q": "NA", "a": "null"}, {"q": "007", "a": "=cmd()"}]


def test_csv_rows_that_cannot_be_read_are_problems_and_the_rest_is_read(write_file):
    rows = read(write_file("a.csv", 'q,a\n1,x\n2,y,z\n"3"!,x\n4,x,,\n5\n6,"open\n7,x\n'))
    seen = [(type(row).__name__, getattr(row, "number", None) or row.row, row.line) for row in rows]
    assert seen == [
        ("Row", 1, 2),
        ("Problem", 2, 3),
        ("Problem", 3, 4),
        ("Row", 4, 5),
        ("Row", 5, 6),
        ("Problem", 6, 7),
    ]
    assert "never closed" in rows[5].problem
    assert rows[4].values == {"q": "5"}


def test_long_csv_cell_is_read(write_file):
    assert len(read(write_file("a.csv", f"q,a\n{'x' * 1_000_000},y\n"))[0].values["q"]) == 1_000_000


@pytest.mark.parametrize(
    ("encoding", "named"),
    [("utf-8", "utf-8"), ("utf-8-sig", "utf-8-sig"), ("utf-16", "utf-16"), ("cp1252", "cp1252")],
)
def test_encoding_is_found_out(write_file, encoding, named):
    source = open_rows(write_file("a.csv", "Frage,Antwort\nschön?,ja\n".encode(encoding)))
    assert (source.encoding, source.columns) == (named, ("Frage", "Antwort"))
    assert [row.values["Frage"] for row in source] == ["schön?"]
    assert [warning.line for warning in source.warnings] == ([2] if named == "cp1252" else [])


def test_utf8_with_one_broken_byte_is_not_taken_for_another_encoding(write_file):
    with pytest.raises(DatasetError, match=r"0xFF in line 3.*utf-8"):
        open_rows(write_file("a.csv", "q,a\nschön,ja\n".encode() + b"b\xffd,x\n"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b" \n\t\n", "blank"),
        (b"PK\x03\x04rest", "Excel"),
        (gzip.compress(b'{"q": 1}'), "gzip"),
        (b"PAR1rest", "Parquet"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not a text file"),
        (b"just some words\nin two lines\n", "neither JSON nor a table"),
        (b"<!DOCTYPE html>\n<p>Hello</p>\n", "neither JSON nor a table"),
        (b"q,q\n1,2\n", "Two columns"),
        (b'"q,a\n1,2\n', "neither JSON nor a table"),
        (b'{"data": [{"title": "t", "paragraphs": []}]}', "nested form"),
    ],
)
def test_foreign_file_is_refused_in_one_sentence_with_a_way_out(write_file, content, said):
    with pytest.raises(DatasetError, match=said) as caught:
        list(open_rows(write_file("a.csv", content)))
    assert caught.value.fix
    assert "a.csv" in caught.value.where


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="no such file"):
        open_rows(tmp_path / "nothing.csv")
    with pytest.raises(DatasetError, match="cannot be read"):
        open_rows(tmp_path)


def test_columns_of_json_are_those_of_all_sampled_rows(write_jsonl):
    assert open_rows(write_jsonl([{"a": "1"}, {"b": "2", "a": "1"}])).columns == ("a", "b")
