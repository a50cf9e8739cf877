"""A file is read once for each way of looking at it, off the page's thread, and no longer than somebody waits."""

from __future__ import annotations

from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import pytest

from modelforge.errors import DatasetError
from modelforge.ui.dataset.reports import NONE, ROLES, Looks, Question, Reading, Turn

LONG = 30.0  # seconds; nothing here takes as long


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "towns.csv"
    path.write_text("question,answer\n" + "".join(f"Where is town {n}?,At mile {n * n}.\n" for n in range(40)))
    return path


def test_what_the_widgets_ask_once_they_show_a_report_is_not_read_again(file: Path) -> None:
    looks = Looks()
    report = looks.look(Question(str(file)))
    columns = [{"prompt": "question", "response": "answer"}.get(role, NONE) for role in ROLES]
    assert looks.look(Question.read(str(file), "chat", [], columns)) is report


def test_a_file_that_has_changed_is_read_again(file: Path) -> None:
    looks = Looks()
    report = looks.look(Question(str(file)))
    file.write_text("question,answer\nWhere?,There.\nWhen?,Then.\n")
    assert looks.look(Question(str(file))).rows == 2
    assert report.rows == 40


def test_a_reading_ends_with_its_report_or_its_error(file: Path) -> None:
    reading = Reading(Looks(), Question(str(file)))
    assert reading.wait(LONG)
    assert reading.report().rows == 40
    gone = Reading(Looks(), Question(str(file.with_name("gone.csv"))))
    assert gone.wait(LONG)
    with pytest.raises(DatasetError, match="does not exist"):
        gone.report()


def test_a_reading_that_nobody_waits_for_stops(tmp_path: Path) -> None:
    path = tmp_path / "faults.jsonl"
    path.write_text("".join(f'{{"prompt": "What is {n}?", "response": {n}}}\n' for n in range(40_000)))
    looks = Looks()
    reading = Reading(looks, Question(str(path)))
    reading.give_up()
    assert reading.wait(LONG)
    with pytest.raises(CancelledError):
        reading.report()


def test_only_the_newest_look_of_a_page_has_something_to_say() -> None:
    turn = Turn()
    first = turn.take()
    assert list(turn.speak(first, ["first"])) == [["first"]]
    second = turn.take()
    assert turn.is_over(first)
    assert list(turn.speak(first, ["too late"])) == [[gr.skip()]]
    assert list(turn.speak(second, ["second"])) == [["second"]]


def test_a_newer_look_begins_once_what_the_older_one_says_has_arrived() -> None:
    turn = Turn()
    speaking = turn.speak(turn.take(), ["first"])
    next(speaking)
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(turn.take)
        with pytest.raises(TimeoutError):
            second.result(0.2)
        assert list(speaking) == []
        assert not turn.is_over(second.result(LONG))
