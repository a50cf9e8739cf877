"""A file is checked once for each mapping, in a thread, and no longer than the page waits for it."""

from __future__ import annotations

from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import pytest

from modelforge.data.report import Report
from modelforge.errors import DatasetError
from modelforge.ui.dataset.reports import NONE, ROLES, CheckRequest, LatestRequest, ReportCache
from modelforge.ui.look.background import BackgroundCall

LONG = 30.0  # seconds; no test takes as long


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "towns.csv"
    path.write_text("question,answer\n" + "".join(f"Where is town {n}?,At mile {n * n}.\n" for n in range(40)))
    return path


def test_the_request_that_the_widgets_make_for_a_shown_report_is_cached(file: Path) -> None:
    reports = ReportCache()
    report = reports.get(CheckRequest(str(file)))
    columns = [{"prompt": "question", "response": "answer"}.get(role, NONE) for role in ROLES]
    assert reports.get(CheckRequest.read(str(file), "chat", [], *columns)) is report


def test_a_changed_file_is_read_again(file: Path) -> None:
    reports = ReportCache()
    report = reports.get(CheckRequest(str(file)))
    file.write_text("question,answer\nWhere?,There.\nWhen?,Then.\n")
    assert reports.get(CheckRequest(str(file))).rows == 2
    assert report.rows == 40


def start(path: Path) -> BackgroundCall[Report]:
    return BackgroundCall(lambda note: ReportCache().get(CheckRequest(str(path)), note))


def test_a_background_check_ends_with_a_report_or_an_error(file: Path) -> None:
    check = start(file)
    assert check.wait(LONG)
    assert check.result().rows == 40
    gone = start(file.with_name("gone.csv"))
    assert gone.wait(LONG)
    with pytest.raises(DatasetError, match="does not exist"):
        gone.result()


def test_a_cancelled_check_stops(tmp_path: Path) -> None:
    path = tmp_path / "faults.jsonl"
    path.write_text("".join(f'{{"prompt": "What is {n}?", "response": {n}}}\n' for n in range(40_000)))
    check = start(path)
    check.cancel()
    assert check.wait(LONG)
    with pytest.raises(CancelledError):
        check.result()


def test_only_the_newest_request_updates_the_page() -> None:
    latest = LatestRequest()
    first = latest.begin()
    assert list(latest.send(first, {"verdict": "first"})) == [{"verdict": "first"}]
    second = latest.begin()
    assert latest.is_outdated(first)
    assert list(latest.send(first, {"verdict": "too late"})) == [gr.skip()]
    assert list(latest.send(second, {"verdict": "second"})) == [{"verdict": "second"}]


def test_a_newer_request_begins_after_what_the_older_one_sends_has_arrived() -> None:
    latest = LatestRequest()
    sending = latest.send(latest.begin(), {"verdict": "first"})
    next(sending)
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(latest.begin)
        with pytest.raises(TimeoutError):
            second.result(0.2)
        assert list(sending) == []
        assert not latest.is_outdated(second.result(LONG))
