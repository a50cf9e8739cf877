"""The planner in a separate process: real ones, with a tiny model."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelforge.errors import RecipeError
from modelforge.planner import outcomes, service
from modelforge.planner.estimate import Plan, Rows
from modelforge.planner.service import Answer, PlannerService, Question, Task, answer
from modelforge.recipe import Recipe
from tests import tiny
from tests.machine import base, measured, probed

__all__ = ["base", "measured", "probed"]


@pytest.fixture(scope="module")
def planner() -> Iterator[PlannerService]:
    made = PlannerService()
    yield made
    made._end()


def test_plan_comes_from_the_process_and_a_refusal_comes_back_as_an_error(
    planner: PlannerService, base: Path, probed: Path
) -> None:
    recipe = tiny.recipe(base, "")
    made = planner.ask(recipe.with_settings({"name": "not asked about"}), Rows(16, 64, 30.0))
    assert made and made.memory and made.memory.total > 0 and made.time
    assert planner.ask(recipe, Rows(16, 64, 30.0), seconds=0) == made  # remembered, whatever its name
    with pytest.raises(RecipeError, match=r"tuning\.target_modules"):
        planner.ask(recipe.with_settings({"tuning.target_modules": "nonsense"}), Rows())


def test_process_that_was_started_early_answers(base: Path, probed: Path) -> None:
    planner = PlannerService()
    try:
        planner.expect_question()
        process = planner._process
        assert process
        assert planner.ask(tiny.recipe(base, ""), Rows(16, 64, 30.0))
        planner.expect_question()
        assert planner._process is process
    finally:
        planner._end()


def test_one_process_serves_two_homes(
    planner: PlannerService, base: Path, probed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = planner.ask(tiny.recipe(base, ""), Rows())
    assert here and here.memory and here.correction == 1
    process = planner._process
    other = tmp_path / "other"
    other.mkdir()
    (probed / "cache").rename(other / "cache")
    monkeypatch.setenv("MODELFORGE_HOME", str(other))
    outcomes.add_outcome(here.kind, outcomes.Outcome(here.memory.total, here.memory.total * 3 // 2, 7.0, str(base)))
    there = planner.ask(tiny.recipe(base, ""), Rows())
    assert there and (there.correction, there.tokens_per_second) == (pytest.approx(1.5), 7.0)
    assert planner._process is process


def test_process_that_is_gone_gives_no_plan_and_says_why(
    base: Path, probed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    planner, found = PlannerService(), list[Plan | None]()
    waiting = threading.Thread(target=lambda: found.append(planner.ask(tiny.recipe(base, ""), Rows())))
    with caplog.at_level(logging.ERROR, "modelforge"):
        waiting.start()
        while planner._process is None:
            time.sleep(0.01)
        planner._process.kill()
        waiting.join()
    assert found == [None]
    assert "exit code -9" in caplog.text


def test_process_whose_app_is_gone_when_it_has_started_ends() -> None:
    command = [sys.executable, "-m", "modelforge.planner.service", str(os.getppid())]  # not the process that starts it
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.wait(100) == 0


def test_bug_in_the_process_is_logged_with_its_traceback(
    base: Path, probed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Plan:
        raise KeyError("a bug of ours")

    monkeypatch.setattr(service, "plan_for", fail)
    task = Task.here(Question(tiny.recipe(base, ""), Rows()))
    found = answer(service._adapter(Task).dump_json(task).decode())
    assert (found.plan, found.refusal) == (None, None)
    assert "KeyError: 'a bug of ours'" in found.failure and "in fail" in found.failure


def test_question_that_comes_meanwhile_ends_advice(probed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted answer is neither kept nor called a failure."""
    planner, asked, go = PlannerService(), list[bool](), threading.Event()

    def answer(_: str) -> Answer:
        asked.append(True)
        go.wait()
        return Answer()

    monkeypatch.setattr(planner, "_put", answer)
    first = threading.Thread(target=planner.ask, args=(Recipe(), Rows()), kwargs={"with_advice": True})
    first.start()
    while not asked:
        time.sleep(0.01)
    killed: list[str] = []
    monkeypatch.setattr(service, "_kill", killed.append)
    monkeypatch.setattr(planner, "_process", "a process")
    assert planner.ask(Recipe(max_steps=2), Rows(), seconds=0) is None
    assert killed == ["a process"] and not planner._answers
    go.set()
    first.join()


@pytest.mark.slow
def test_fault_17_page_has_a_time_that_was_measured(planner: PlannerService, tmp_path: Path, probed: Path) -> None:
    recipe = tiny.recipe(tiny.write_base(tmp_path / "base", num_hidden_layers=4), "")
    guess = planner.ask(recipe, Rows(16, 64, 30.0))
    timed = planner.ask(recipe, Rows(16, 64, 30.0), calibrate=True)
    assert guess and guess.timing == "guess" and timed and timed.timing == "step"
    (kept,) = outcomes.read_cache("calibration.json").values()
    assert kept == timed.tokens_per_second
