from __future__ import annotations

import json
import random
import tracemalloc

import pytest

from modelforge.data.readers import json_window, open_rows
from modelforge.data.rows import Problem, Row
from tests.data.readers.reading import places, problems, read, values

WINDOWS = [17, 23, 64, 1000, 4 << 20]


@pytest.fixture(params=WINDOWS)
def window(request, monkeypatch):
    """The same must come out however small the pieces are in which a file is read."""
    monkeypatch.setattr(json_window, "_WINDOW_CHARACTERS", request.param)
    return request.param


def test_pretty_printed_list_knows_the_line_of_each_row(write_file, window):
    path = write_file("a.json", json.dumps([{"q": "x\ny", "a": ["1", "2"]}, {"q": "z", "a": []}], indent=2))
    assert open_rows(path).format == "json"
    assert places(path) == [(1, 2), (2, 9)]


def test_list_inside_an_object_is_found(write_file, window):
    content = json.dumps({"version": "1", "note": {"data": [1]}, "data": [{"q": "1"}, {"q": "2"}]}, indent=1)
    path = write_file("a.json", content)
    assert values(path) == [{"q": "1"}, {"q": "2"}]
    lines = content.split("\n")
    assert [lines[line - 1].strip() for _, line in places(path)] == ["{", "{"]
    assert '"q": "1"' in lines[places(path)[0][1]]


def test_list_inside_an_object_on_one_line_is_found(write_file):
    assert values(write_file("a.json", '{"data": [{"q": "1"}, {"q": "2"}]}')) == [{"q": "1"}, {"q": "2"}]


def test_rows_that_stand_one_a_line_inside_an_object_are_found(write_file, window):
    path = write_file("a.json", '{"data": [\n{"q": "1"},\n{"q": "2"},\n{"q": "3"}\n]}')
    assert values(path) == [{"q": "1"}, {"q": "2"}, {"q": "3"}]
    assert places(path) == [(1, 2), (2, 3), (3, 4)]


@pytest.mark.parametrize(
    ("content", "chosen", "others"),
    [
        ({"test": [{"q": "0"}], "train": [{"q": "1"}], "other": [{"q": "2"}]}, "train", "'test', 'other'"),
        ({"a": [{"q": "1"}], "b": [{"q": "2"}]}, "a", "'b'"),
        ({"test": [{"q": "0"}], "data": [{"q": "1"}]}, "data", "'test'"),
        ({"meta": [1, 2], "parts": [{"q": "1"}, 5], "rows": [{"q": "1"}]}, "rows", ""),
    ],
)
def test_of_several_lists_one_is_read_and_the_others_are_named(write_file, window, content, chosen, others):
    path = write_file("a.json", json.dumps(content, indent=2))
    assert values(path) == content[chosen]
    warnings = open_rows(path).warnings
    assert [(warning.severity, warning.row) for warning in warnings] == ([("warning", None)] if others else [])
    for warning in warnings:
        assert repr(chosen) in warning.problem
        assert f"not read: {others}." in warning.problem


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"tools": [{"name": "f"}], "messages": [{"role": "user", "content": "a"}]},
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        {"context": "a", "question": "b", "answers": [{"text": "a", "answer_start": 0}]},
        {"question": "a", "answer": "b", "sources": [{"url": "c"}]},
        {"data": []},
        {"data": [1, 2]},
    ],
)
def test_one_row_by_itself_is_a_row_and_not_a_list_of_rows(write_file, row, indent):
    assert values(write_file("a.json", json.dumps(row, indent=indent))) == [row]


def test_objects_one_after_another_know_their_lines(write_file, window):
    path = write_file("a.jsonl", '{\n "q": "1"\n}\n{\n "q": "2"\n}\n\n{ "q":\n "3" }\n')
    assert open_rows(path).format == "json"
    assert [row["q"] for row in values(path)] == ["1", "2", "3"]
    assert places(path) == [(1, 1), (2, 4), (3, 8)]


def test_broken_object_among_several_is_reported_and_the_rest_is_read(write_file, window):
    path = write_file("a.json", '{\n "q": "1"\n}\n{\n "q": oops\n}\n{\n "q": "3"\n}\n')
    first, broken, last = read(path)
    assert isinstance(broken, Problem)
    assert (broken.row, broken.line) == (2, 5)
    assert (first.values, last.values, last.number, last.line) == ({"q": "1"}, {"q": "3"}, 3, 7)


def test_object_that_lacks_its_bracket_costs_no_other_row(write_file, window):
    path = write_file("a.json", '{\n "q": "1"\n}\n{\n "q": "2"\n{\n "q": "3"\n}\n')
    assert [(type(row).__name__, row.line) for row in read(path)] == [("Row", 1), ("Problem", 6), ("Row", 6)]


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ('[{"q": 1},\n{"q": 2},\n]', 3, "expecting value at character 1"),
        ('[{"q": 1},\n{"q": 2}\n{"q": 3}]', 3, "expecting a comma or the end of the list at character 1"),
        ('[{"q": 1},\n{"q": 2}', 2, "cut off here"),
        ('[{"q": 1},\n{"q": "2', 2, "cut off here"),
        ('[{"q": 1},\n{"q"', 2, "cut off here"),
        ('{"data": [{"q": 1},\n{"q": 2}]', 2, "cut off here"),
        ('{"data": [{"q": 1},\n{"q": oops}]}', 2, "expecting value at character 7"),
        ('{"data": [{"q": 1}],\n"end": oops}', 2, "expecting value at character 8"),
        ('{"data": [{"q": 1}],\n}', 2, "property name"),
        ('{"data": [{"q": 1}]\n"x": 1}', 2, "',' delimiter"),
        ('[{"q": 1}]\nmore', 2, "more text after the end"),
        ('[{"q": "a\n', 1, "control character"),
        ("[" * 100_000, 1, "nested too deep"),
        ('[{"q": ' + "9" * 5000 + "}]", 1, "too long"),
    ],
)
def test_broken_list_is_one_problem_with_its_line(write_file, window, content, line, said):
    rows = read(write_file("a.json", content))
    assert [row.line for row in rows if isinstance(row, Problem)] == [line]
    assert said in rows[-1].problem
    assert rows[-1].fix
    assert all(isinstance(row, Row) for row in rows[:-1])


@pytest.mark.parametrize("content", ["[\n\n]", '["a"]', "[[1], null]", "[-1.5e3,2]"])
def test_values_that_are_no_objects_are_problems(write_file, window, content):
    path = write_file("a.json", content)
    assert open_rows(path).format == "json"
    assert [problem.row for problem in problems(path)] == list(range(1, len(json.loads(content)) + 1))
    assert not places(path)


def test_numbers_that_the_window_cuts_are_read_whole(write_file, window):
    numbers = ["1", "-12.5", "12345678901234567890", "1e10", "1.5E-7", "-0"]
    content = '[{"q": [' + ", ".join(numbers * 20) + "]}, " + ", ".join(numbers * 20) + "]"
    first, *others = read(write_file("a.json", content), exact_numbers=True)
    assert [str(number) for number in first.values["q"]] == numbers * 20
    assert len(others) == len(numbers) * 20


def test_duplicate_keys_and_what_is_not_json_are_problems_of_their_row(write_file, window):
    content = """[{"q": 1},
    {"q": NaN}, {"q": 1,
    "q": 2}, {"a": {"b": 1, "b": 2}}, {"q": [Infinity]},
    {"q": 5}]"""
    first, nan, twice, inner, infinity, last = read(write_file("a.json", content))
    assert (first.values, last) == ({"q": 1}, Row(6, 4, {"q": 5}))
    assert [found.line for found in (nan, twice, inner, infinity)] == [2, 2, 3, 3]
    assert [found.column for found in (nan, twice, inner, infinity)] == [None, "q", "b", None]
    assert nan.problem == "NaN is not JSON."
    assert twice.problem == "The key 'q' occurs twice in this row."


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_every_line_ending_is_one_line(write_file, window, ending):
    path = write_file("a.json", ending.join(["[", '{"q": 1},', "", '{"q": 2}', "]"]))
    assert places(path) == [(1, 2), (2, 4)]


def test_random_files_read_the_same_in_windows_of_every_size(write_file, monkeypatch):
    """Rows, lines and problems do not depend on where the window cuts the text."""
    random.seed(3)
    texts = ["é", "\u2028", '"', "\\", "😀", "x" * 40, "\ud83d", "\n", "{", "[", ","]

    def value(depth):
        kind = random.randrange(6 if depth < 3 else 4)
        if kind == 4:
            return [value(depth + 1) for _ in range(random.randrange(3))]
        if kind == 5:
            return {random.choice(texts): value(depth + 1) for _ in range(random.randrange(3))}
        return [random.choice(texts), random.random(), random.choice([True, False, None]), -random.randrange(10**9)][
            kind
        ]

    for number in range(60):
        rows = [{"n": index, "value": value(0)} for index in range(12)]
        indent = random.choice([None, 1])
        form = random.choice(["list", "inner", "sequence"])
        if form == "sequence":
            content = "\n".join(json.dumps(row, indent=indent or 1) for row in rows)
        else:
            content = json.dumps(rows if form == "list" else {"v": "1", "data": rows, "end": [{}]}, indent=indent)
        if number % 2:
            place = random.randrange(20, len(content))
            content = content[:place] + random.choice(["", "x", "}", '"', ","]) + content[place + 1 :]
        path = write_file(f"{number}.json", content)
        monkeypatch.setattr(json_window, "_WINDOW_CHARACTERS", 1 << 20)
        expected = read(path)
        if number % 2 == 0:
            assert [row.values for row in expected] == rows
            lines = content.split("\n")
            assert all("{" in lines[row.line - 1] for row in expected)
        for size in (17, 18, 19, 31, 97, 300):
            monkeypatch.setattr(json_window, "_WINDOW_CHARACTERS", size)
            again = write_file(f"{number}-{size}.json", content)
            assert read(again) == expected, (number, size)


def test_memory_does_not_grow_with_the_file(write_file, monkeypatch):
    monkeypatch.setattr(json_window, "_WINDOW_CHARACTERS", 1 << 14)
    row = json.dumps({"prompt": "x" * 300, "response": ["y" * 300]}, indent=1)
    for content in (f"[{row}" + f",\n{row}" * 15_000 + "]", f'{{"data": [{row}' + f",\n{row}" * 15_000 + "]}"):
        path = write_file("a.json", content)
        tracemalloc.start()
        try:
            lines = [found.line for found in open_rows(path)]
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert lines == [1 + 6 * index for index in range(15_001)]
        assert len(content) > 9_000_000
        assert peak < 4_000_000  # mostly what finding out the format takes, and the lines kept here


def test_row_longer_than_the_window_is_read(write_file, monkeypatch):
    monkeypatch.setattr(json_window, "_WINDOW_CHARACTERS", 100)
    rows = [{"q": "x" * 90}, {"q": "y\n" * 5000}, {"q": "z"}]
    path = write_file("a.json", json.dumps(rows, indent=1))
    assert values(path) == rows
    assert places(path) == [(1, 2), (2, 5), (3, 8)]


@pytest.mark.parametrize("broken", ['{"q": "' + "x" * 5000 + '"}', '{"q": ["' + 'a", "' * 1000])
def test_row_longer_than_the_bound_is_a_problem(write_file, monkeypatch, broken):
    monkeypatch.setattr(json_window, "_WINDOW_CHARACTERS", 100)
    monkeypatch.setattr(json_window, "LONGEST_ROW", 3000)
    first, found = read(write_file("a.json", f'[{{"q": "1"}},\n{broken}, {{"q": "3"}}]' + " " * 3000))
    assert first.values == {"q": "1"}
    assert (found.row, found.line) == (2, 2)
    assert "more than 3,000 characters" in found.problem


@pytest.mark.parametrize(
    "content",
    [
        "[1] A footnote, and what it says.\n\nMore text.\n",
        "[INST] Say hello [/INST]\n\nHello\n",
        "{name} wrote this letter.\n\nAnd this.\n",
    ],
)
def test_text_that_only_begins_with_a_bracket_is_text(write_file, content):
    source = open_rows(write_file("a.txt", content))
    assert (source.format, len(list(source))) == ("text", 2)


def test_layout_of_a_file_that_was_changed_is_found_anew(write_file):
    assert values(write_file("a.json", '{"data": [{"q": "1"}]}')) == [{"q": "1"}]
    assert values(write_file("a.json", '{"n": 1, "data": [{"q": "22"}]}')) == [{"q": "22"}]
