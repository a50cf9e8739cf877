from __future__ import annotations

import gc
import json
from collections.abc import Callable

import pytest

from modelforge import paths
from modelforge.data.checks import check
from modelforge.data.columns import apply
from modelforge.data.problems import SHOWN_PROBLEMS
from modelforge.errors import DatasetError, RecipeError

GOOD = [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(1, 101)]


def with_row_57(**changes):
    rows = [dict(row) for row in GOOD]
    rows[56] |= changes
    return rows


def test_good_file_is_ok_and_its_report_has_the_promised_form(write_jsonl):
    path = write_jsonl(GOOD)
    report = check(path)
    assert report.to_json() == {
        "file": str(path),
        "format": "jsonl",
        "encoding": "utf-8",
        "task": "text-generation",
        "shape": "chat",
        "rows": 100,
        "usable": 100,
        "columns": ["prompt", "completion"],
        "mapping": {"prompt": "prompt", "response": "completion"},
        "ok": True,
        "problems": [],
        "counts": {"errors": 0, "warnings": 0, "duplicates": 0},
        "repairs": {},
        "unused": [],
        "notes": [],
    }
    json.dumps(report.to_json())


def test_report_of_a_bad_file_names_what_is_wrong_what_is_usable_and_what_could_be_mended(write_jsonl):
    report = check(write_jsonl([*GOOD, {"prompt": 7, "completion": "a"}, GOOD[0]])).to_json()
    assert (report["ok"], report["rows"], report["usable"]) == (False, 102, 101)
    assert report["counts"] == {"errors": 1, "warnings": 1, "duplicates": 1}
    assert report["repairs"] == {
        "skip_bad_rows": {"possible": 1, "done": 0},
        "numbers_to_text": {"possible": 1, "done": 0},
        "drop_duplicates": {"possible": 1, "done": 0},
    }
    assert report["problems"][0].keys() == {"severity", "row", "line", "column", "problem", "fix"}
    json.dumps(report)


def test_mapped_rows_are_a_sequence_that_knows_their_numbers_in_the_file(write_jsonl):
    rows = check(write_jsonl(with_row_57(completion=None))).mapped_rows
    assert len(rows) == len(list(rows)) == 99
    assert rows[0] == rows[:1][0] == rows[-99]
    assert rows[56]["messages"][0]["content"] == rows[-43]["messages"][0]["content"] == "question 58"
    assert [rows.number(index) for index in (0, 55, 56, 98)] == [1, 56, 58, 100]
    with pytest.raises(IndexError):
        rows[99]
    assert [row["messages"][0]["content"] for row in rows] == [row["prompt"] for row in GOOD if row is not GOOD[56]]


def test_column_missing_in_row_57_is_named_with_row_and_line(write_file):
    rows = [json.dumps(row) for row in GOOD]
    rows[56] = json.dumps({"prompt": "question 57"})
    report = check(write_file("a.jsonl", "\n" + "\n".join(rows)))  # a blank line first: line and row differ
    assert not report.ok
    (problem,) = report.problems
    assert (problem.row, problem.line, problem.column, problem.severity) == (57, 58, "completion", "error")
    assert "missing" in problem.problem
    assert problem.fix
    assert len(report.mapped_rows) == 99


def test_cell_missing_in_row_57_of_a_csv_is_named(write_file):
    lines = ["question,answer", *(f'"q\n{n}",a' for n in range(56)), "q57", "q58,a"]
    (problem,) = check(write_file("a.csv", "\n".join(lines))).problems
    assert (problem.row, problem.line, problem.column) == (57, 114, "answer")


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "null"), ("", "blank"), (" \n\t", "blank"), (7, "a number"), (True, "true or false"), ([], "a list")],
)
def test_value_that_is_no_text_is_an_error_of_its_row_and_column(write_jsonl, value, said):
    report = check(write_jsonl(with_row_57(completion=value)))
    (problem,) = report.problems
    assert (problem.row, problem.line, problem.column, problem.severity) == (57, 57, "completion", "error")
    assert said in problem.problem
    assert not report.ok


def test_lone_surrogate_is_an_error_and_no_crash(write_file):
    text = "\n".join(json.dumps(row) for row in GOOD[:30])
    report = check(write_file("a.jsonl", text + '\n{"prompt": "a\\ud800b", "completion": "c"}\n'))
    assert [(problem.row, problem.column) for problem in report.problems] == [(31, "prompt")]


def test_duplicates_are_warnings_that_name_the_first(write_jsonl):
    report = check(write_jsonl([*GOOD, GOOD[2], GOOD[2]]))
    assert report.ok
    assert (report.counts.duplicates, report.counts.warnings) == (2, 2)
    assert [problem.row for problem in report.problems] == [101, 102]
    assert all("row 3" in problem.problem for problem in report.problems)
    assert len(report.mapped_rows) == 102


def test_broken_line_is_an_error_that_counts_as_a_row(write_file):
    lines = [json.dumps(row) for row in GOOD]
    lines[56] = "{oops"
    report = check(write_file("a.jsonl", "\n".join(lines)))
    assert (report.rows, report.ok) == (100, False)
    assert [(problem.row, problem.line) for problem in report.problems] == [(57, 57)]


@pytest.mark.parametrize(("amount", "ok", "problems"), [(0, False, 1), (1, False, 1), (2, True, 1), (20, True, 0)])
def test_too_few_rows_are_said(write_file, amount, ok, problems):
    text = "question,answer\n" + "".join(f"q{n},a\n" for n in range(amount))
    report = check(write_file("a.csv", text))
    assert (report.ok, len(report.problems)) == (ok, problems)


def test_columns_that_cannot_be_guessed_are_asked_for(write_jsonl):
    rows = [{"foo": f"a{n}", "bar": "b"} for n in range(30)]
    report = check(write_jsonl(rows))
    assert not report.ok
    assert len(report.problems) == 2
    assert "--map prompt=COLUMN" in report.problems[0].fix
    assert "foo, bar" in report.problems[0].fix
    assert check(write_jsonl(rows), columns={"prompt": "foo", "response": "bar"}).ok


@pytest.mark.parametrize("content", [b"", b"\n \n", b"PK\x03\x04", b"\x00\x01\x02", b"q,q\n1,2\n", b"[" * 100_000])
def test_unreadable_file_gives_a_report_that_says_so(write_file, content):
    report = check(write_file("a.jsonl", content))
    assert not report.ok
    assert report.counts.errors == len(report.problems) == 1
    assert report.problems[0].fix
    json.dumps(report.to_json())


def test_file_that_is_not_there_and_unknown_task_are_refused(tmp_path, write_jsonl):
    with pytest.raises(DatasetError, match="does not exist"):
        check(tmp_path / "nothing.jsonl")
    with pytest.raises(RecipeError):
        check(write_jsonl(GOOD), "poetry")


def test_windows_encoding_is_read_with_a_warning(write_file):
    text = "question,answer\n" + "".join(f"é {n}?,è\n" for n in range(30))
    report = check(write_file("a.csv", text.encode("cp1252")))
    assert report.ok
    assert report.encoding == "cp1252"
    assert "Windows-1252" in report.problems[0].problem


def test_problems_shown_are_bounded_and_errors_come_before_warnings(write_jsonl):
    same = [GOOD[0]] * (SHOWN_PROBLEMS + 501)
    report = check(write_jsonl([*same, {"prompt": "x"}]))
    assert report.counts.warnings == SHOWN_PROBLEMS + 500
    assert report.counts.errors == 1
    assert len(report.problems) == SHOWN_PROBLEMS
    assert report.problems[-1].severity == "error"


def turns(*speakers):
    return {"messages": [{"role": speaker, "content": f"{n}"} for n, speaker in enumerate(speakers)]}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (turns("user"), "no turn of the assistant"),
        (turns("system", "user"), "no turn of the assistant"),
        (turns("assistant", "user"), "out of order: turn 1"),
        (turns("user", "user", "assistant"), "out of order: turn 2"),
        (turns("user", "assistant", "system"), "out of order: turn 3"),
        (turns("user", "wizard"), "'wizard'"),
        ({"messages": []}, "no turn of the assistant"),
        ({"messages": "hello"}, "where a list of turns belongs"),
        ({"messages": ["hello"]}, "Turn 1 is text"),
        ({"messages": [{"role": "user", "content": None}]}, "null"),
        ({}, "missing"),
    ],
)
def test_chat_in_disorder_is_an_error_of_its_row(write_jsonl, row, said):
    report = check(write_jsonl([turns("system", "user", "assistant"), *[turns("user", "assistant")] * 2, row]))
    errors = [problem for problem in report.problems if problem.severity == "error"]
    assert [(problem.row, problem.column) for problem in errors] == [(4, "messages")]
    assert said in errors[0].problem


def test_chat_that_ends_with_the_user_is_kept_with_a_warning(write_jsonl):
    chats = [turns("user", "assistant", "user") for _ in range(30)]
    for number, chat in enumerate(chats):
        chat["messages"][0]["content"] = f"question {number}"
    report = check(write_jsonl(chats))
    assert report.ok
    assert "Turn 3" in report.problems[0].problem
    assert report.problems[0].severity == "warning"


CONTEXT = "Water boils at 100 degrees. Ice melts at 0 degrees."


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"text": ["Ice"], "answer_start": [28]}, None),
        ({"text": ["Ice"], "answer_start": [3]}, "at 28"),
        ({"text": ["Ice"], "answer_start": [99]}, "at 28"),
        ({"text": ["Steam"], "answer_start": [3]}, "is not in the context"),
        ("ice", "at character 28"),
        ("Ice", None),
        (["Ice", "Water"], None),
        ([{"text": "Ice", "answer_start": 28}], None),
    ],
)
def test_answer_is_looked_for_in_its_context(write_jsonl, answers, said):
    rows = [{"context": CONTEXT, "question": f"What {n}?", "answers": "Water"} for n in range(20)]
    report = check(write_jsonl([*rows, {"context": CONTEXT, "question": "What?", "answers": answers}]))
    assert report.ok == (said is None)
    assert [said in problem.problem for problem in report.problems] == ([True] if said else [])
    assert [(problem.severity, problem.row, problem.column) for problem in report.problems] == (
        [("error", 21, "answers")] if said else []
    )


@pytest.mark.parametrize("answers", [[], {"text": [], "answer_start": []}])
def test_empty_list_says_that_the_text_has_no_answer(write_jsonl, answers):
    rows = [{"context": CONTEXT, "question": f"What {n}?", "answers": "Water"} for n in range(20)]
    report = check(write_jsonl([*rows, {"context": CONTEXT, "question": "What?", "answers": answers}]))
    assert (report.ok, report.problems) == (True, ())
    assert report.mapped_rows[-1]["answers"] == {"text": [], "answer_start": []}


@pytest.mark.parametrize("answers", [None, "", {}, {"text": None}, {"text": [3]}, [None], 7])
def test_no_answer_is_an_error(write_jsonl, answers):
    rows = [{"context": CONTEXT, "question": f"What {n}?", "answers": "Water"} for n in range(20)]
    report = check(write_jsonl([*rows, {"context": CONTEXT, "question": "What?", "answers": answers}]))
    assert [(problem.row, problem.column, problem.severity) for problem in report.problems] == [
        (21, "answers", "error")
    ]


@pytest.mark.parametrize("bad", [[], [0, 2499], [5, 1500, 1501]])
def test_thousands_of_rows_are_mapped_as_each_one_by_itself(write_jsonl, bad):
    rows = [
        {"instruction": f"question {n}", "input": ["", "more", None, " "][n % 4], "output": f"answer {n}", "id": n}
        for n in range(2500)
    ]
    for row in bad:
        rows[row]["output"] = " " if row % 2 else 7
    report = check(write_jsonl(rows))
    each = [apply(report.mapping, row)[0] for row in rows]
    assert list(report.mapped_rows) == [row for row in each if row]
    assert report.mapped_rows[1:2500:300] == [row for row in each if row][1:2500:300]
    assert [problem.row for problem in report.problems] == [row + 1 for row in bad]
    assert [problem.line for problem in report.problems] == [row + 1 for row in bad]
    numbers = [report.mapped_rows.number(index) for index in range(len(report.mapped_rows))]
    assert numbers == [row + 1 for row in range(2500) if row not in bad]


def give_up_after(steps: int) -> Callable[[float], None]:
    left = iter(range(steps - 1))

    def watch(_: float) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    return watch


def test_progress_rises_to_its_end_and_giving_up_leaves_nothing(write_jsonl, isolated_home):
    path = write_jsonl({"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(5_000))
    seen: list[float] = []
    check(path, watch=seen.append)
    assert seen == sorted(seen)
    assert seen
    assert all(0 <= share <= 1 for share in seen)
    with pytest.raises(KeyboardInterrupt):
        check(path, watch=give_up_after(1))
    gc.collect()
    assert [each for each in isolated_home.rglob("*") if each.is_file()] == []


def test_check_reads_a_file_whose_name_needs_care(tmp_path):
    path = tmp_path / 'größe 100%? \'"$(x)".jsonl'
    path.write_text("".join(json.dumps(row) + "\n" for row in GOOD))
    assert check(path).ok


def test_comparing_the_rows_can_be_given_up_too(write_jsonl):
    same = "The word that differs is the one at the very end of this long sentence, and it is"
    path = write_jsonl({"prompt": f"{same} {n}?", "response": f"{same} {n}."} for n in range(50))
    seen: list[float] = []
    check(path, watch=seen.append)
    assert seen.count(1.0) > 20  # a step for each band of the sketches
    with pytest.raises(KeyboardInterrupt):
        check(path, watch=give_up_after(10))
    gc.collect()
    assert not list(paths.cache_dir().glob("*looked-at*"))
