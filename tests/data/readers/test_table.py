from __future__ import annotations

import pytest

from modelforge.data.readers import open_rows, table
from modelforge.data.rows import Problem
from modelforge.errors import DatasetError
from tests.data.readers.reading import places, problems, read, values


@pytest.mark.parametrize(
    ("delimiter", "format"),
    [(",", "csv"), (";", "csv"), ("|", "csv"), ("\t", "tsv")],
    ids=["comma", "semicolon", "bar", "tab"],
)
def test_delimiter_is_found_out(write_file, delimiter, format):
    content = f'question{delimiter}answer\n"Is it, well; so{delimiter}?"{delimiter}yes\n'
    source = open_rows(write_file("a.txt", content))
    assert (source.format, source.columns, source.warnings) == (format, ("question", "answer"), ())
    assert [row.values["answer"] for row in source] == ["yes"]


@pytest.mark.parametrize(
    ("content", "columns", "rows"),
    [
        ("name;price;note\na, b;1,5;x, y\nc, d;2,5;z, w\n", ("name", "price", "note"), 2),
        ('id;"name, first"\n1;"A, B"\n2;"C, D"\n', ("id", "name, first"), 2),
        ("a,b|c,d\n1,2|3,4\n1,2|3,4\n", ("a", "b|c", "d"), 2),
        ("id\tquestion, in English\n1\tWhy, then?\n", ("id", "question, in English"), 1),
        ("sep=;\nquestion;answer\nWhy, then?;So\n", ("question", "answer"), 1),
        ('"question", "answer"\n"Hi, you", "Yes, me"\n', ("question", "answer"), 1),
        ("question, answer\nWhy?, So\n", ("question", "answer"), 1),
        ("Question,Answer\nOne\nTwo\nThree\nFour,4\n", ("Question", "Answer"), 4),
        ("question,answer,,\na,b,,\nc,d,,\n", ("question", "answer", "column 3", "column 4"), 2),
        (",question,answer\n0,a,b\n", ("column 1", "question", "answer"), 1),
        ("\n\n  \nquestion,answer\na,b\n", ("question", "answer"), 1),
        ("Customer question,Agent reply,Date\nWhy?,So.,1\n", ("Customer question", "Agent reply", "Date"), 1),
    ],
)
def test_tables_of_many_kinds_are_tables(write_file, content, columns, rows):
    source = open_rows(write_file("a", content))
    assert source.format in ("csv", "tsv")
    assert source.columns == columns
    assert len(list(source)) == rows
    assert not problems(source.path)


@pytest.mark.parametrize(
    "content",
    [
        "Once upon a time, there was a king.\nHe had a lamp, a door, and a dog.\n",
        "Roses are red, violets are blue\nSugar is sweet, and so are you\n",
        "Dear customer, thank you\n",
        "Hello, world\n\nThis is a letter, and it goes on; and on.\n",
        "What are your hours?,We open at nine.\nWhere are you?,In Brindlewick.\n",
        "12,yes\n13,no\n",
        "just some words\nin two lines\n",
        '"q,a\n1,2\n',
        "Summary\n\nThis text has a heading, and no columns.\n",
        "one word\n",
        "Milk, eggs\nBread, butter\nTea, jam\n",
    ],
)
def test_prose_with_commas_is_text_and_nothing_of_it_is_lost(write_file, content):
    source = open_rows(write_file("a.csv", content))
    assert (source.format, source.columns) == ("text", ("text",))
    assert source.warnings
    kept = "\n".join(row.values["text"] for row in source)
    assert kept.split() == content.split()


@pytest.mark.parametrize("header", ["text", "Prompt", '"text"', "system prompt"])
def test_one_column_with_a_usual_name_is_a_table(write_file, header):
    content = f'{header}\nHello, you; and you\n"One, ""two""\nthree"\n\nlast\n'
    source = open_rows(write_file("a.csv", content))
    assert (source.format, source.columns) == ("csv", (header.strip('"'),))
    rows = [next(iter(row.values.values())) for row in source]
    assert rows == ["Hello, you; and you", 'One, "two"\nthree', "last"]
    assert places(source.path) == [(1, 2), (2, 3), (3, 6)]


@pytest.mark.parametrize("content", ["question,answer\n", "question,answer", "text\n", "text", "a;b;c\n\n\n"])
def test_header_alone_is_a_table_without_rows(write_file, content):
    source = open_rows(write_file("a.csv", content))
    assert (source.format, list(source), source.sample) == ("csv", [], ())
    assert source.columns


def test_quoted_newlines_count_as_lines(write_file):
    path = write_file("a.csv", 'q,a\n"one\ntwo\nthree",x\n\n"say ""hi""",y\r\nz,"1\r\n2"\nlast,w\n')
    rows = read(path)
    assert places(path) == [(1, 2), (2, 6), (3, 7), (4, 9)]
    assert [row.values["q"] for row in rows] == ["one\ntwo\nthree", 'say "hi"', "z", "last"]
    assert rows[2].values["a"] == "1\r\n2"


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_every_line_ending_is_one_line(write_file, ending):
    path = write_file("a.csv", ending.join(["q,a", "1,x", "", '2,"y', 'z"', "3,w"]))
    assert places(path) == [(1, 2), (2, 4), (3, 6)]
    assert values(path)[1] == {"q": "2", "a": f"y{ending}z"}


def test_separators_that_are_no_line_endings_stay_in_the_text(write_file):
    text = "one\u2028two\u0085three\x0bfour\x0cfive"
    assert values(write_file("a.csv", f"q,a\n{text},x\n")) == [{"q": text, "a": "x"}]


def test_text_that_looks_like_something_else_stays_text(write_file):
    rows = values(write_file("a.csv", "q,a\nNA,null\n007,=cmd()\nNone,1.10\n nan ,TRUE\n"))
    assert [tuple(row.values()) for row in rows] == [
        ("NA", "null"),
        ("007", "=cmd()"),
        ("None", "1.10"),
        (" nan ", "TRUE"),
    ]


def test_rows_that_cannot_be_read_are_problems_and_the_rest_is_read(write_file):
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
    assert rows[1].problem == "This row has 3 cells, the header has 2."
    assert "double quotes around text that contains a ','" in rows[1].fix
    assert "never closed" in rows[5].problem
    assert rows[4].values == {"q": "5"}


def test_long_cell_is_read_and_one_beyond_the_bound_is_a_problem(write_file, monkeypatch):
    assert len(values(write_file("a.csv", f"q,a\n{'x' * 1_000_000},y\n"))[0]["q"]) == 1_000_000
    monkeypatch.setattr(table, "LONGEST_ROW", 100_000)
    (found,) = problems(write_file("b.csv", f"q,a\n1,x\n{'x' * 100_001},y\n2,y\n"))
    assert "more than 100,000 characters" in found.problem
    assert (found.row, found.line) == (2, 3)


def test_line_longer_than_a_row_is_seen_wherever_it_begins(write_file, monkeypatch):
    monkeypatch.setattr(table, "LONGEST_ROW", 100)
    for before in range(0, 260, 7):
        lines = "q,a\n" * (before // 4) + "y" * (before % 4) + "\n"
        assert table._holds_long_line(write_file("long.csv", f"{lines}{'x' * 101}\n{lines}"))
        assert not table._holds_long_line(write_file("short.csv", f"{lines}{'x' * 48}\n{lines}"))


@pytest.mark.parametrize("content", ["q,q\n1,2\n", "question, question \n1,2\n", "a,b,a\n1,2,3\n"])
def test_two_columns_of_one_name_are_refused(write_file, content):
    with pytest.raises(DatasetError, match="Two columns are named") as caught:
        open_rows(write_file("a.csv", content))
    assert caught.value.fix


def test_delimiter_is_found_although_the_beginning_ends_within_a_row(write_file):
    content = "question,answer\n" + '"Is it, so; is it?","No, it is not"\n' * 40_000
    source = open_rows(write_file("a.csv", content))
    assert source.columns == ("question", "answer")
    assert sum(not isinstance(row, Problem) for row in source) == 40_000
