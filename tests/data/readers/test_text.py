from __future__ import annotations

import pytest

from modelforge.data.readers import open_rows, text
from modelforge.data.rows import Problem
from tests.data.readers.reading import places, read, values


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_paragraphs_are_separated_by_blank_lines_and_kept_as_written(write_file, ending):
    lines = ["", "  Once upon a time,", "\tthere was a king. ", "", " ", "He had a lamp.", "", ""]
    path = write_file("a.txt", ending.join(lines))
    assert open_rows(path).format == "text"
    first = f"  Once upon a time,{ending}\tthere was a king. "
    assert values(path) == [{"text": first}, {"text": "He had a lamp."}]
    assert places(path) == [(1, 2), (2, 6)]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_without_blank_lines_between_each_line_is_a_row(write_file, ending):
    path = write_file("a.txt", ending.join(["", "One thing. ", " Another thing.", "And a third.", "", ""]))
    assert [row["text"] for row in values(path)] == ["One thing. ", " Another thing.", "And a third."]
    assert places(path) == [(1, 2), (2, 3), (3, 4)]


@pytest.mark.parametrize(("content", "part"), [("One.\n\nTwo.\n", "paragraph"), ("One.\nTwo.\n", "line")])
def test_it_is_said_that_there_are_no_columns_and_how_to_have_some(write_file, content, part):
    source = open_rows(write_file("a.txt", content))
    (warning,) = source.warnings
    assert source.columns == ("text",)
    assert (warning.severity, warning.row, warning.line) == ("warning", None, None)
    assert warning.problem == f"This file has no columns, so each {part} is one row of plain text."
    assert "question,answer" in warning.fix


def test_last_paragraph_needs_no_line_ending(write_file):
    assert values(write_file("a.txt", "One.\n\nTwo\nlines")) == [{"text": "One."}, {"text": "Two\nlines"}]


def test_paragraph_that_is_too_long_is_a_problem_and_the_next_is_read(write_file, monkeypatch):
    monkeypatch.setattr(text, "LONGEST_ROW", 1000)
    content = "One.\n\n" + "x" * 5000 + "\n" + "y\n" * 10 + "\nThree.\n\n" + "z" * 1000
    one, long, three, four = read(write_file("a.txt", content))
    assert isinstance(long, Problem)
    assert (long.row, long.line) == (2, 3)
    assert one.values == {"text": "One."}
    assert (three.values, three.line) == ({"text": "Three."}, 15)
    assert (len(four.values["text"]), four.line) == (1000, 17)
