"""Files as people have them: damaged, cut off, saved by the wrong program. Each gets its verdict, and none raises."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest

from modelforge.data.checks import check
from modelforge.data.prepare import prepare, read_rows
from modelforge.data.problems import SHOWN_PROBLEMS, Problems
from modelforge.data.rows import Problem

Pair = tuple[str, str]
Place = tuple[str, int | None, int | None, str | None]  # severity, row, line, column

GOOD: list[Pair] = [(f"Question number {n}?", f"Answer {n * n}.") for n in range(1, 101)]
ACCENTS: list[Pair] = [(f"Où est {n} ?", f"À côté de {n + 1000}.") for n in range(1, 101)]
SIGNS: list[Pair] = [
    ("\u202eright to left\u202c and \u2066isolated\u2069", "\u200fعربية\u200e"),
    ("family 👩\u200d👩\u200d👧 and flag 🇩🇪", "thumb 👍🏽"),
    ("e\u0301 is not \u00e9", "\ufb01 \u212b \u1e9e"),
    ("separators \u2028 \u2029 \u0085 \x1c in a text", "no\u00a0break \ufeff bom \ufffd"),
    ("c\u0327\u0301\u0302\u0303" * 20, "z\u0351\u0343\u0344a"),
]
ANSWERED = [
    {"context": f"Town {n} lies on river {n}.", "question": f"On what lies {n}?", "answers": f"river {n}"}
    for n in range(30)
]


@dataclass(frozen=True)
class BadFile:
    """content: makes what is in it. place and says: of the decisive problem (the first error, else the first warning),
    None where nothing is wrong. pairs: question and answer of each usable row, where they are looked at."""

    name: str
    content: Callable[[], str | bytes]
    ok: bool
    place: Place | None = None
    says: str = ""
    pairs: list[Pair] | None = None
    file: str = "rows.jsonl"
    options: Mapping[str, Any] = field(default_factory=dict)


def write_lines(rows: Iterable[Any], end: str = "\n") -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + end for row in rows)


def as_objects(pairs: Iterable[Pair]) -> list[dict[str, Any]]:
    return [{"question": question, "answer": answer} for question, answer in pairs]


def write_jsonl(pairs: Iterable[Pair] = GOOD, end: str = "\n") -> str:
    return write_lines(as_objects(pairs), end)


def write_csv(pairs: Iterable[Pair] = GOOD, delimiter: str = ",") -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([("question", "answer"), *pairs])
    return text.getvalue()


def put(row: int, line: str, text: str | None = None) -> str:
    """The good file with another line in the place of one of its rows."""
    lines = (text or write_jsonl()).splitlines()
    lines[row - 1] = line
    return "\n".join(lines)


def put_values(row: int, **values: Any) -> str:
    return put(row, json.dumps({"question": f"q{row}", "answer": f"a{row}"} | values))


def put_chat(row: int, *speakers: str) -> str:
    """Thirty chats, one of which has these speakers."""
    chats = [[("user", f"question {n}"), ("assistant", f"answer {n}")] for n in range(30)]
    chats[row - 1] = [(speaker, f"turn {n}") for n, speaker in enumerate(speakers)]
    turns = [[{"role": role, "content": content} for role, content in chat] for chat in chats]
    return write_lines({"messages": chat} for chat in turns)


def write_workbook(rows: Iterable[tuple[Any, ...]]) -> bytes:
    workbook = openpyxl.Workbook()
    for row in rows:
        workbook.active.append(row)
    file = io.BytesIO()
    workbook.save(file)
    return file.getvalue()


def write_parquet(columns: Mapping[str, Any]) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


def write_chats_as_parquet() -> bytes:
    turn = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
    chats = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in GOOD]
    return write_parquet({"messages": pyarrow.array(chats, pyarrow.list_(turn))})


def write_gzip_bomb() -> bytes:
    """A gigabyte of blank lines in a megabyte: 32 members one after another, which gzip takes for one file."""
    return gzip.compress(b"\n" * (32 << 20)) * 32


def skip(row: int, pairs: list[Pair] = GOOD) -> list[Pair]:
    return [*pairs[: row - 1], *pairs[row:]]


def error(row: int | None = None, line: int | None = None, column: str | None = None) -> Place:
    return "error", row, line, column


def warning(row: int | None = None, line: int | None = None, column: str | None = None) -> Place:
    return "warning", row, line, column


DEEP = "[" * 100_000 + "]" * 100_000
MULTILINE = [(f"first line\nsecond line {n}", f'She said "{n}",\r\nand left.') for n in range(1, 31)]
MARKUP = [
    ("<script>alert(1)</script> <b>bold</b> &amp;", "<img src=x onerror=alert(1)>"),
    ("=cmd|' /C calc'!A0", "@SUM(1+1)*cmd"),
    ("../../etc/passwd", "C:\\Windows\\..\\system32"),
    ("{{ 7 * 7 }} {% raw %} ${HOME} `id`", "'; DROP TABLE rows; --"),
]
REPAIR_NUMBERS = {"repairs": ["numbers_to_text"]}

FILES = [
    BadFile("empty", lambda: "", False, error(), "empty"),
    BadFile("white space only", lambda: " \n\t\r\n  \n", False, error(), "blank"),
    BadFile("header only", lambda: "question,answer\n", False, error(), "no data rows", [], "a.csv"),
    BadFile("one row", lambda: write_csv(GOOD[:1]), False, error(), "only 1 usable row", GOOD[:1], "a.csv"),
    BadFile("byte order mark", lambda: write_jsonl().encode("utf-8-sig"), True, pairs=GOOD),
    BadFile("byte order mark in a table", lambda: write_csv().encode("utf-8-sig"), True, pairs=GOOD, file="a.csv"),
    BadFile("UTF-16 with its mark", lambda: write_csv(ACCENTS).encode("utf-16"), True, pairs=ACCENTS, file="a.csv"),
    BadFile("UTF-16 without its mark", lambda: write_jsonl(ACCENTS).encode("utf-16-le"), True, pairs=ACCENTS),
    BadFile("UTF-16, great end first", lambda: write_jsonl(ACCENTS).encode("utf-16-be"), True, pairs=ACCENTS),
    BadFile(
        "Latin-1",
        lambda: write_jsonl([*GOOD[:40], *ACCENTS[40:]]).encode("latin-1"),
        True,
        warning(None, 41),
        "Windows-1252",
        [*GOOD[:40], *ACCENTS[40:]],
    ),
    BadFile("CRLF", lambda: write_jsonl(end="\r\n"), True, pairs=GOOD),
    BadFile("CRLF in a table", lambda: write_csv().replace("\n", "\r\n"), True, pairs=GOOD, file="a.csv"),
    BadFile("lone CR", lambda: write_jsonl(end="\r"), True, pairs=GOOD),
    BadFile("lone CR in a table", lambda: write_csv().replace("\n", "\r"), True, pairs=GOOD, file="a.csv"),
    BadFile(
        "lone CR, with a fault",
        lambda: put(57, "{oops").replace("\n", "\r"),
        False,
        error(57, 57),
        "JSON",
        skip(57),
    ),
    BadFile(
        "NUL in a text",
        lambda: put_values(57, answer="a\0b"),
        False,
        error(57, 57, "answer"),
        "NUL",
        skip(57),
    ),
    BadFile(
        "NUL in a cell",
        lambda: put(58, "que\0stion,answer", write_csv()),
        False,
        error(57, 58, "question"),
        "NUL",
        skip(57),
        "a.csv",
    ),
    BadFile(
        "trailing comma in a list",
        lambda: "[\n" + write_jsonl(end=",\n") + "]",
        False,
        error(101, 102),
        "JSON",
        GOOD,
        "a.json",
    ),
    BadFile("bad line 57", lambda: put(57, '{"question": "q", answer}'), False, error(57, 57), "JSON", skip(57)),
    BadFile("blank lines", lambda: "\n\n" + write_jsonl(end="\n \t\n"), True, pairs=GOOD),
    BadFile(
        "blank lines, with a fault",
        lambda: "\n\n" + put(57, "{oops").replace("\n", "\n \t\n"),
        False,
        error(57, 115),
        "JSON",
        skip(57),
    ),
    BadFile(
        "cut last line",
        lambda: write_jsonl()[:-20],
        False,
        error(100, 100),
        "cut off",
        GOOD[:-1],
    ),
    BadFile(
        "cut in the middle of a character",
        lambda: (write_jsonl(ACCENTS) + '{"question": "é').encode()[:-1],
        False,
        error(),
        "cut off",
    ),
    BadFile("cut list", lambda: ("[" + write_jsonl(end=",\n"))[:-9], False, error(100, 100), "cut off"),
    BadFile(
        "single object",
        lambda: json.dumps(as_objects(GOOD)[0], indent=2),
        False,
        error(),
        "only 1 usable row",
        GOOD[:1],
        "a.json",
    ),
    BadFile("list named .jsonl", lambda: json.dumps(as_objects(GOOD), indent=1), True, pairs=GOOD),
    BadFile("lines named .json", write_jsonl, True, pairs=GOOD, file="a.json"),
    BadFile(
        "list under a key",
        lambda: json.dumps({"version": 2, "data": as_objects(GOOD)}),
        True,
        pairs=GOOD,
        file="a.json",
    ),
    BadFile(
        "key that stands twice",
        lambda: put(57, '{"question": "q", "answer": "one", "answer": "two"}'),
        False,
        error(57, 57, "answer"),
        "twice",
        skip(57),
    ),
    BadFile("NaN", lambda: put(57, '{"question": "q", "answer": NaN}'), False, error(57, 57), "NaN", skip(57)),
    BadFile(
        "Infinity in a list",
        lambda: "[\n" + write_jsonl(GOOD[:30], ",\n") + '{"question": "q", "answer": -Infinity}]',
        False,
        error(31, 32),
        "Infinity",
        GOOD[:30],
        "a.json",
    ),
    BadFile(
        "nested 100,000 deep",
        lambda: put(57, f'{{"question": "q", "answer": {DEEP}}}'),
        False,
        error(57, 57),
        "nested too deep",
        skip(57),
    ),
    BadFile("nothing but 100,000 brackets", lambda: "[" * 100_000, False, error(1, 1), "nested too deep"),
    BadFile(
        "integer of 5,000 digits",
        lambda: put(57, f'{{"question": "q", "answer": {"7" * 5000}}}'),
        False,
        error(57, 57),
        "number",
        skip(57),
    ),
    BadFile(
        "integer of 5,000 digits, repaired",
        lambda: put(57, f'{{"question": "q", "answer": {"7" * 5000}}}'),
        True,
        pairs=[*GOOD[:56], ("q", "7" * 5000), *GOOD[57:]],
        options=REPAIR_NUMBERS,
    ),
    BadFile(
        "missing column in row 57",
        lambda: put(57, '{"question": "q"}'),
        False,
        error(57, 57, "answer"),
        "missing",
        skip(57),
    ),
    BadFile("null answer", lambda: put_values(57, answer=None), False, error(57, 57, "answer"), "null", skip(57)),
    BadFile("blank answer", lambda: put_values(57, answer=" \t\n"), False, error(57, 57, "answer"), "blank", skip(57)),
    BadFile(
        "blank cell", lambda: put(58, "q,", write_csv()), False, error(57, 58, "answer"), "blank", skip(57), "a.csv"
    ),
    BadFile(
        "number where text belongs",
        lambda: put(57, '{"question": "q", "answer": 1.10}'),
        False,
        error(57, 57, "answer"),
        "number",
        skip(57),
    ),
    BadFile(
        "number where text belongs, repaired",
        lambda: put(57, '{"question": 123456789012345678901234567890, "answer": 1.10}'),
        True,
        pairs=[*GOOD[:56], ("123456789012345678901234567890", "1.10"), *GOOD[57:]],
        options=REPAIR_NUMBERS,
    ),
    BadFile(
        "numbers in a list, repaired",
        lambda: "[" + write_jsonl(GOOD[:30], ",\n") + '{"question": -0.50e3, "answer": 00012}]',
        False,
        error(31, 31),
        "JSON",
        GOOD[:30],
        "a.json",
        REPAIR_NUMBERS,
    ),
    BadFile(
        "true where text belongs",
        lambda: put_values(57, answer=True),
        False,
        error(57, 57, "answer"),
        "true or false",
        skip(57),
        options=REPAIR_NUMBERS,
    ),
    BadFile(
        "two turns of the user",
        lambda: put_chat(7, "user", "user", "assistant"),
        False,
        error(7, 7, "messages"),
        "out of order: turn 2",
    ),
    BadFile(
        "role that nobody knows", lambda: put_chat(7, "user", "wizard"), False, error(7, 7, "messages"), "'wizard'"
    ),
    BadFile(
        "no turn of the assistant",
        lambda: put_chat(7, "system", "user"),
        False,
        error(7, 7, "messages"),
        "no turn of the assistant",
    ),
    BadFile(
        "lone surrogate",
        lambda: put(57, '{"question": "a\\ud800b", "answer": "c"}'),
        False,
        error(57, 57, "question"),
        "half a character",
        skip(57),
    ),
    BadFile(
        "directions, emoji and combining marks",
        lambda: write_jsonl([*SIGNS, *GOOD]),
        True,
        pairs=[*SIGNS, *GOOD],
    ),
    BadFile(
        "the same in a table",
        lambda: write_csv([*SIGNS, *GOOD]),
        True,
        pairs=[*SIGNS, *GOOD],
        file="a.csv",
    ),
    BadFile("newlines between quotes", lambda: write_csv(MULTILINE), True, pairs=MULTILINE, file="a.csv"),
    BadFile(
        "newlines between quotes, with a fault after them",
        lambda: write_csv(MULTILINE) + "last,\n",
        False,
        error(31, 92, "answer"),
        "blank",
        MULTILINE,
        "a.csv",
    ),
    BadFile(
        "quote that is never closed",
        lambda: put(58, 'q,"never closed', write_csv()),
        False,
        error(57, 58),
        "never closed",
        GOOD[:56],
        "a.csv",
    ),
    BadFile("semicolons", lambda: write_csv(delimiter=";"), True, pairs=GOOD, file="a.csv"),
    BadFile("tabs", lambda: write_csv(delimiter="\t"), True, pairs=GOOD, file="a.csv"),
    BadFile(
        "row with a cell too many",
        lambda: put(58, "q,a,more", write_csv()),
        False,
        error(57, 58),
        "3 cells",
        skip(57),
        "a.csv",
    ),
    BadFile(
        "row with a cell too few",
        lambda: put(58, "q", write_csv()),
        False,
        error(57, 58, "answer"),
        "missing",
        skip(57),
        "a.csv",
    ),
    BadFile(
        "header that stands twice",
        lambda: "question,answer,answer\nq,a,b\n",
        False,
        error(),
        "'answer'",
        file="a.csv",
    ),
    BadFile(
        "NA and null as words",
        lambda: write_csv([("NA", "null"), ("nan", "None"), ("N/A", "#N/A"), *GOOD]),
        True,
        pairs=[("NA", "null"), ("nan", "None"), ("N/A", "#N/A"), *GOOD],
        file="a.csv",
    ),
    BadFile(
        "workbook named .csv",
        lambda: write_workbook([("question", "answer"), *GOOD]),
        True,
        pairs=GOOD,
        file="a.csv",
    ),
    BadFile(
        "workbook with a gap and an empty cell",
        lambda: write_workbook([("question", "answer"), *GOOD[:20], (None, None), ("q", None)]),
        False,
        error(21, 23, "answer"),
        "null",
        GOOD[:20],
        "a.xlsx",
    ),
    BadFile("gzip named .jsonl", lambda: gzip.compress(write_jsonl().encode()), True, pairs=GOOD),
    BadFile("gzip that is cut", lambda: gzip.compress(write_jsonl().encode())[:-20], False, error(), "cut off"),
    BadFile("gzip bomb", write_gzip_bomb, False, error(), "too much for a file of"),
    BadFile(
        "field of 10 MB",
        lambda: put_values(57, answer="word " * 2_000_000 + "end"),
        True,
        warning(57, 57, "answer"),
        "10,000,003 characters",
        [*GOOD[:56], ("q57", "word " * 2_000_000 + "end"), *GOOD[57:]],
    ),
    BadFile("Parquet with lists of turns", write_chats_as_parquet, True, pairs=GOOD, file="a.parquet"),
    BadFile(
        "Parquet with a null",
        lambda: write_parquet({"question": ["q1", "q2", "q3"], "answer": ["a1", None, "a3"]}),
        False,
        error(2, None, "answer"),
        "null",
        [("q1", "a1"), ("q3", "a3")],
        "a.parquet",
    ),
    BadFile(
        "Parquet with a corrupt footer",
        lambda: write_chats_as_parquet()[:-40] + b"\xff" * 32 + b"\x20\0\0\0PAR1",
        False,
        error(),
        "damaged",
        file="a.parquet",
    ),
    BadFile("Parquet that is cut", lambda: write_chats_as_parquet()[:-200], False, error(), "damaged"),
    BadFile("all rows the same", lambda: write_jsonl(GOOD[:1] * 30), False, error(), "All 30 rows"),
    BadFile(
        "answer that is not in its context",
        lambda: put(7, json.dumps(ANSWERED[6] | {"answers": "the sea"}), write_lines(ANSWERED)),
        False,
        error(7, 7, "answers"),
        "is not in the context",
    ),
    BadFile(
        "answer that stands elsewhere",
        lambda: put(
            7, json.dumps(ANSWERED[6] | {"answers": {"text": ["river 6"], "answer_start": [2]}}), write_lines(ANSWERED)
        ),
        False,
        error(7, 7, "answers"),
        "but at 15",
    ),
    BadFile("markup, formulas and paths", lambda: write_jsonl([*MARKUP, *GOOD]), True, pairs=[*MARKUP, *GOOD]),
    BadFile(
        "markup, formulas and paths in cells",
        lambda: write_csv([*MARKUP, *GOOD]),
        True,
        pairs=[*MARKUP, *GOOD],
        file="a.csv",
    ),
]


@pytest.mark.parametrize("bad", FILES, ids=lambda bad: bad.name)
def test_file_gets_its_verdict(write_file, bad):
    path = write_file(bad.file, bad.content())
    content = path.read_bytes()
    report = check(path, **bad.options)
    assert report.ok == bad.ok, report.problems[:3]
    decisive = report.all_problems.first_error or next(iter(report.problems), None)
    assert (place_of(decisive), bad.says in getattr(decisive, "problem", "")) == (bad.place, True), decisive
    assert decisive is None or decisive.fix
    if bad.pairs is not None:
        assert [tuple(turn["content"] for turn in row["messages"]) for row in report.mapped_rows] == bad.pairs
    if report.ok:
        assert read_rows(prepare(report).id) == list(report.mapped_rows)
    json.dumps(report.to_json())
    assert path.read_bytes() == content


def place_of(problem: Problem | None) -> Place | None:
    return (problem.severity, problem.row, problem.line, problem.column) if problem else None


def test_gzip_bomb_is_given_up_and_what_was_unpacked_is_deleted(write_file, isolated_home):
    assert not check(write_file("rows.jsonl", write_gzip_bomb())).ok
    assert [path.name for path in isolated_home.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("cell", ["=cmd|' /C calc'!A0", "+1+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_list_of_problems_holds_no_formula(write_file, tmp_path, cell):
    row = dict.fromkeys((cell, "answer"), "")
    rows = write_lines([*({cell: f"q{n}", "answer": f"a{n}"} for n in range(30)), row])
    report = check(write_file("rows.jsonl", rows), columns={"prompt": cell, "response": "answer"})
    report.all_problems.write_csv(tmp_path / "problems.csv")
    with (tmp_path / "problems.csv").open(encoding="utf-8-sig", newline="") as file:
        written = list(csv.DictReader(file))
    assert [(each["row"], each["line"], each["column"]) for each in written] == [
        ("31", "31", f"'{cell}"),
        ("31", "31", "answer"),
    ]


def test_list_of_problems_holds_all_of_them_and_ordinary_text_as_it_is(tmp_path):
    problems = Problems()
    amount = SHOWN_PROBLEMS + 10
    for number in range(1, amount + 1):
        problems.add(Problem("error", number, number, "<b>../a</b>", 'He said "no",\nand left.', "Mend it."))
    problems.write_csv(tmp_path / "problems.csv")
    with (tmp_path / "problems.csv").open(encoding="utf-8-sig", newline="") as file:
        written = list(csv.DictReader(file))
    assert [int(each["row"]) for each in written] == list(range(1, amount + 1))
    assert {each["column"] for each in written} == {"<b>../a</b>"}
    assert {each["problem"] for each in written} == {'He said "no",\nand left.'}
    assert len(problems.shown) == SHOWN_PROBLEMS
    assert problems.counts == {"error": amount, "warning": 0}


def test_half_a_character_in_a_problem_does_not_break_the_list_of_problems(write_file, tmp_path):
    rows = [json.dumps({"messages": [{"role": "\ud800", "content": "a"}]})] * (SHOWN_PROBLEMS + 5)
    report = check(write_file("rows.jsonl", "\n".join(rows)))
    assert report.counts.errors == SHOWN_PROBLEMS + 5
    report.all_problems.write_csv(tmp_path / "problems.csv")
    assert len(list(report.all_problems)) == SHOWN_PROBLEMS + 5


def test_path_to_a_list_of_problems_is_replaced_not_appended(tmp_path: Path):
    problems = Problems()
    problems.add(Problem("warning", 1, 1, None, "p", "f"))
    for _ in range(2):
        problems.write_csv(tmp_path / "problems.csv")
    assert (tmp_path / "problems.csv").read_text(encoding="utf-8-sig").count("p,f") == 1
