from __future__ import annotations

import json
import random

import orjson
import pytest

from modelforge.data.readers import jsonl, open_rows
from modelforge.data.rows import Problem, Row
from tests.data.readers.reading import places, problems, read, values


def test_blank_lines_are_no_rows_and_count_as_lines(write_file):
    path = write_file("a.jsonl", '\n{"a": 1}\n\n{"a": 2}\n   \n\t\n{"a": 3}')
    assert open_rows(path).format == "jsonl"
    assert places(path) == [(1, 2), (2, 4), (3, 7)]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 1 << 20])
def test_every_line_ending_is_one_line(write_file, ending, chunk, monkeypatch):
    monkeypatch.setattr(jsonl, "_CHUNK_BYTES", chunk)
    for end in ("", ending):
        path = write_file("a.jsonl", ending.join(['{"a": 1}', '{"a": 2}', "", '{"a": 3}']) + end)
        assert places(path) == [(1, 1), (2, 2), (3, 4)]


def test_line_endings_of_all_kinds_in_one_file_are_counted(write_file):
    path = write_file("a.jsonl", '{"a": 1}\r{"a": 2}\n{"a": 3}\r\n\r{"a": 4}\r\r\n{"a": 5}')
    assert places(path) == [(1, 1), (2, 2), (3, 3), (4, 5), (5, 7)]


def test_separators_that_are_no_line_endings_stay_in_the_text(write_file):
    path = write_file("a.jsonl", '{"q": "one\u2028two\u0085three\x7f"}\n{"q": "x"}\n')
    assert [row["q"] for row in values(path)] == ["one\u2028two\u0085three\x7f", "x"]


def test_broken_line_57_is_named_and_the_rest_is_read(write_file):
    lines = [json.dumps({"q": str(n)}) for n in range(1, 101)]
    lines[56] = '{"q": "57"'
    rows = read(write_file("a.jsonl", "\n".join(lines)))
    found = [row for row in rows if isinstance(row, Problem)]
    assert len(rows) == 100
    assert [(p.row, p.line, p.severity) for p in found] == [(57, 57, "error")]
    assert "at character 11 of the line" in found[0].problem
    assert "cut off" not in found[0].problem
    assert found[0].fix


def test_first_line_broken_is_still_jsonl(write_file):
    path = write_file("a.jsonl", '{"q": }\n{"q": "2"}\n{"q": "3"}\n')
    first, second, _ = read(path)
    assert open_rows(path).format == "jsonl"
    assert isinstance(first, Problem)
    assert second.values == {"q": "2"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"q": }', "expecting value at character 7"),
        ("{'q': 1}", "property name enclosed in double quotes at character 2"),
        ('{"q": 1,}', "character 9"),
        ('{"q": 1} {"q": 2}', "extra data at character 10"),
        ('{"q": "tab\there"}', "invalid control character"),
        ('{"q": ' + "[" * 100_000, "nested too deep"),
        ('{"q": NaN}', "NaN is not JSON"),
        ('{"q": [1, -Infinity]}', "-Infinity is not JSON"),
        ('{"q": {"r": Infinity}}', "Infinity is not JSON"),
        ("[1, 2]", "a list, not an object"),
        ('"text"', "text, not an object"),
        ("17", "a number, not an object"),
        ("null", "null, not an object"),
    ],
)
def test_line_that_is_no_row_says_why_and_the_next_is_read(write_file, line, said):
    _, found, last = read(write_file("a.jsonl", f'{{"q": "1"}}\n{line}\n{{"q": "3"}}\n'))
    assert isinstance(found, Problem)
    assert said in found.problem
    assert (found.row, found.line) == (2, 2)
    assert found.fix
    assert last == Row(3, 3, {"q": "3"})


@pytest.mark.parametrize("value", ["\ud83d", 2**63, 1e308, "\x00", [[[]]], {"a": {}}])
def test_what_json_allows_is_a_row(write_file, value):
    path = write_file("a.jsonl", f'{{"q": {json.dumps(value)}}}\n{{"q": 2}}\n')
    assert values(path)[0] == {"q": value}


def test_integer_beyond_64_bits_is_a_row_and_its_digits_are_kept_where_asked_for(write_file):
    path = write_file("a.jsonl", f'{{"q": {10**30}}}\n{{"q": {"9" * 5000}}}\n')
    usual, endless = read(path)
    assert usual.values["q"] == pytest.approx(10**30)
    assert "too long" in endless.problem
    assert [str(row.values["q"]) for row in read(path, exact_numbers=True)] == [str(10**30), "9" * 5000]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('{"prompt": "a", "response": "b", "prompt": "c"}', "prompt"),
        ('{"prompt" : "a", "prompt" : "c"}', "prompt"),
        ('{"prompt"\t:"a","prompt":"c"}', "prompt"),
        ('{"a": "x: y", "b": "\\"k\\": 1", "a": ":"}', "a"),
        ('{"m": [{"role": "user", "role": "system"}]}', "role"),
        ('{"a": {"b": {"c": 1, "d": 2, "c": 3}}}', "c"),
        ('{"\\u0061": 1, "a": 2}', "a"),
        ('{"a\\\\": 1, "a\\\\": "\\":"}', "a\\"),
    ],
)
def test_key_that_stands_twice_is_found(write_file, line, key):
    (found, _) = read(write_file("a.jsonl", f'{line}\n{{"q": 2}}\n'))
    assert isinstance(found, Problem)
    assert (found.row, found.line, found.column) == (1, 1, key)
    assert found.problem == f"The key {key!r} occurs twice in this row."
    assert found.fix == "Keep one of them."


def test_colons_quotes_and_braces_in_text_are_no_keys(write_file):
    texts = ['{"a": {"b": 1}}', '"x": "y" : "z"', "12:30", '":', '\\":', "{}{{::", ": begins so", "a\\"]
    rows = [{text: text, "inner": [{text: text}, {text: [text]}]} for text in texts]
    assert values(write_file("a.jsonl", "\n".join(map(json.dumps, rows)))) == rows


def test_duplicate_keys_are_found_in_random_objects_and_only_there(write_file):
    """Against the plain and slow way: every object's pairs looked at."""
    random.seed(5)
    signs = ['"', "\\", ":", " ", "{", "}", "a", "\t", "é"]

    def name():
        return "".join(random.choices(signs, k=random.randrange(3)))

    def write(depth):
        kind = random.randrange(3 if depth < 3 else 1)
        if kind == 0:
            return json.dumps(name() * 2)
        if kind == 1:
            return "[" + ",".join(write(depth + 1) for _ in range(random.randrange(3))) + "]"
        gap = random.choice(["", " ", "\t", "  "])
        pairs = [f"{json.dumps(name())}{gap}:{gap}{write(depth + 1)}" for _ in range(random.randrange(4))]
        return "{" + ",".join(pairs) + "}"

    lines = [f'{{"x": {write(0)}, "y": {write(1)}}}' for _ in range(2000)]
    twice = []
    for number, line in enumerate(lines, start=1):
        sizes = []
        json.loads(line, object_pairs_hook=lambda pairs, sizes=sizes: sizes.append(len(pairs) - len(dict(pairs))))
        if any(sizes):
            twice.append(number)
    path = write_file("a.jsonl", "\n".join(lines))
    assert 50 < len(twice) < 1950
    assert [problem.row for problem in problems(path)] == twice
    good = [json.loads(line) for number, line in enumerate(lines, start=1) if number not in set(twice)]
    assert [row.values for row in read(path) if isinstance(row, Row)] == good


CUT_OFF = ['{"q": "thr', '{"q": ', '{"q": "three"', '{"q": tr', '{"q": 1.', '{"q": -', '{"q": "\\ud8', "{"]


@pytest.mark.parametrize("last", CUT_OFF)
def test_file_that_is_cut_off_says_so_at_its_last_line(write_file, last):
    (found,) = problems(write_file("a.jsonl", f'{{"q": "1"}}\n{{"q": "2"}}\n{last}'))
    assert (found.row, found.line) == (3, 3)
    assert "cut off" in found.problem


def test_last_line_that_is_broken_and_whole_is_not_called_cut_off(write_file):
    content = '{"q": "1"}\n{"q": "2"}\n'
    assert "cut off" not in problems(write_file("a.jsonl", content + '{"q": "thr\n'))[0].problem
    assert "cut off" not in problems(write_file("b.jsonl", content + '{"q": oops, "r": 1}'))[0].problem


def test_line_that_is_too_long_is_a_problem_and_the_next_is_read(write_file, monkeypatch):
    monkeypatch.setattr(jsonl, "LONGEST_ROW", 1 << 21)
    monkeypatch.setattr(jsonl, "_CHUNK_BYTES", 1 << 16)
    longest = b'{"q": "' + b"x" * ((1 << 21) - 9) + b'"}'
    content = b'{"q": 1}\n{"q": "' + b"x" * (3 << 20) + b'"}\n' + longest + b'\n{"q": 4}\n{"q": "' + b"y" * (3 << 20)
    _, long, exact, after, last = read(write_file("a.jsonl", content))
    assert (long.row, long.line, last.row, last.line) == (2, 2, 5, 5)
    assert "more than 2,097,152 characters" in long.problem
    assert "more than 2,097,152 characters" in last.problem
    assert (exact.number, after) == (3, Row(4, 4, {"q": 4}))


def test_first_line_longer_than_what_is_sniffed_is_jsonl(write_file):
    row = json.dumps({"text": "x" * (3 << 20)})
    assert open_rows(write_file("a.jsonl", f'\n{row}\n{{"text": "y"}}\n')).format == "jsonl"
    assert open_rows(write_file("b.jsonl", json.dumps({"data": [{"text": "x" * (3 << 20)}]}))).format == "json"


def test_large_file_gives_what_a_plain_loop_gives(write_file):
    random.seed(1)
    rows = [{"n": n, "text": "é" * random.randrange(400), "inner": {"a": [n]}} for n in range(20_000)]
    path = write_file("a.jsonl", b"\n".join(map(orjson.dumps, rows)))
    assert read(path) == [Row(number, number, row) for number, row in enumerate(rows, start=1)]
