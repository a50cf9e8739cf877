"""Problems of one kind are one line with their number, on the page and on the terminal; JSON has each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from modelforge.cli.data import describe_report
from modelforge.data.checks import check
from modelforge.data.problems import MOST_KINDS, SHOWN_PROBLEMS, Problems
from modelforge.data.rows import Problem
from modelforge.ui.dataset.view import show_problems

Write = Callable[[Iterable[Any]], Path]


def rows() -> list[dict[str, Any]]:
    """Of 40 rows: 12 with a number, 2 null, one without a response."""
    found: list[dict[str, Any]] = [{"prompt": f"What is item {n}?", "response": f"Thing {n * n}."} for n in range(40)]
    for n in range(12):
        found[3 * n]["response"] = n
    found[1]["prompt"] = found[4]["prompt"] = None
    del found[5]["response"]
    return found


def test_problems_of_one_kind_are_one_entry_with_their_number(write_jsonl: Write) -> None:
    report = check(write_jsonl(rows()))
    kinds = [(kind.first.problem, kind.count, len(members)) for kind, members in report.all_problems.kinds]
    assert kinds == [
        ("This is a number where text belongs.", 12, 12),
        ("There is no value (null).", 2, 2),
        ("This column is missing.", 1, 1),
    ]
    assert len(report.to_json()["problems"]) == 15


def test_terminal_has_a_line_for_each_kind(write_jsonl: Write) -> None:
    lines = [line for line in describe_report(check(write_jsonl(rows()))) if line.startswith("error")]
    assert len(lines) == 3
    assert lines[0].startswith("error: 12 rows (1, 4, 7, 10, 13, ...), column response: This is a number")
    assert lines[1].startswith("error: 2 rows (2, 5), column prompt: There is no value")
    assert lines[2].startswith("error: row 6, line 6, column response: This column is missing.")


def test_page_opens_them_on_demand(write_jsonl: Write) -> None:
    shown = show_problems(check(write_jsonl(rows())))
    assert shown.count("<tr>") == 4  # the head and three kinds
    assert shown.count("<details") == 2 and "Show 12 like it" in shown
    assert "<li>Row 34: This is a number where text belongs.</li>" in shown


def test_hostile_text_of_a_file_stays_text(write_jsonl: Write) -> None:
    hostile = [{"messages": [{"role": f"<img src=x onerror=alert({n})>", "content": "a"}]} for n in range(5)]
    shown = show_problems(check(write_jsonl(hostile), shape="chat"))
    assert "<img" not in shown and "&lt;img" in shown


def test_numbers_and_quotes_do_not_make_another_kind_and_kinds_are_bounded() -> None:
    problems = Problems()
    for number in range(50):
        problems.add(
            Problem("warning", number, number, "a", f"This row is identical to row {number} of 'x{number}'.", "")
        )
    assert [kind.count for kind, _ in problems.kinds] == [50]
    letters = "abcdefghijklmnopqrst"
    for first in letters:
        for second in letters:
            problems.add(Problem("error", 1, 1, "a", f"{first}{second} is wrong.", ""))
    assert len(problems.kinds) == MOST_KINDS + 1
    assert sum(kind.count for kind, _ in problems.kinds) == 50 + len(letters) ** 2
    assert sum(len(members) for _, members in problems.kinds) == 50 + len(letters) ** 2


def test_a_problem_of_many_rows_is_listed_as_if_each_row_had_been_added():
    one_by_one, together = Problems(), Problems()
    first = Problem("error", 3, 3, "answer", "There is no value (null).", "Fill it in.")
    rows = np.arange(5, SHOWN_PROBLEMS + 500, dtype=np.uint32)
    for problems in (one_by_one, together):
        problems.add(first)
    for row in rows.tolist():
        one_by_one.add(Problem("warning", row, row + 1, None, f"This row is identical to row {row - 4}.", "Remove it."))
    sentence = Problem("warning", None, None, None, "This row is identical to row {}.", "Remove it.")
    for part in np.array_split(rows, 3):
        together.add_alike(sentence, part, part + 1, part - 4)
    together.add_alike(sentence, rows[:0], rows[:0], rows[:0])
    assert together.counts == one_by_one.counts
    assert together.shown == one_by_one.shown
    assert list(together) == list(one_by_one)
    assert together.kinds == one_by_one.kinds


def test_row_without_a_line_has_none_in_a_problem_of_many_rows():
    problems = Problems()
    numbers = np.array([2], np.uint32)
    problems.add_alike(Problem("warning", None, None, None, "Like row {}.", ""), numbers, numbers * 0, numbers - 1)
    assert [(each.row, each.line, each.problem) for each in problems] == [(2, None, "Like row 1.")]


def test_problem_of_the_whole_file_is_shown_however_many_there_are_of_rows():
    problems = Problems()
    for number in range(1, SHOWN_PROBLEMS + 10):
        problems.add(Problem("warning", number, None, None, f"Row {number}.", ""))
    for name in ("one", "two"):
        problems.add(Problem("warning", None, None, None, name, ""))
    assert [each.problem for each in problems.shown[:3]] == ["one", "two", "Row 1."]
    assert len(problems.shown) == SHOWN_PROBLEMS
    assert len(list(problems)) == problems.counts["warning"] == SHOWN_PROBLEMS + 11
