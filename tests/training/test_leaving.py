"""A run that is left while it is prepared ends at once, whatever it is doing, and nothing that it had is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge, loading, paths
from modelforge.models.folder import read_manifest
from modelforge.planner.estimate import Rows
from modelforge.planner.service import PlannerService
from modelforge.recipe import Recipe
from modelforge.runs.admission import Admission
from modelforge.runs.service import Run, Runs
from modelforge.store import RunState
from modelforge.training import checkpoints
from modelforge.training.methods import sft_decoder
from modelforge.training.run import Job, train
from tests import tiny


class Flag:
    """Stop, pressed once `wanted` calls have come, of whatever `watch` wraps."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.calls = wanted, 0

    def watch(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*given: Any, **more: Any) -> Any:
            self.calls += 1
            return call(*given, **more)

        return watched

    def is_set(self) -> bool:
        return self.calls >= self.wanted


def run_with(flag: Flag, base: Path, folder: Path, *, pausing: bool = False) -> tuple[Any, list[str]]:
    """(its result, the types of its events)."""
    events: list[str] = []
    flags = (lambda: False, flag.is_set) if pausing else (flag.is_set, lambda: False)
    emit = lambda type, **_: events.append(type)  # noqa: E731
    job = Job("run-0", tiny.recipe(base, "", max_steps=5), tiny.rows(), {}, folder, emit, *flags)
    return train(job), events


@pytest.mark.parametrize("pausing", [False, True])
def test_run_is_left_between_two_rows(
    probed: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pausing: bool
) -> None:
    flag, make_encoder = Flag(3), sft_decoder.make_encoder
    monkeypatch.setattr(sft_decoder, "make_encoder", lambda *given: flag.watch(make_encoder(*given)))
    result, events = run_with(flag, base, tmp_path, pausing=pausing)
    assert result.state is (RunState.paused if pausing else RunState.stopped)
    assert (flag.calls, events, result.model_id) == (3, [], None)


def test_run_is_left_before_its_model_is_trained(
    probed: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = Flag(1)
    monkeypatch.setattr(loading, "load_model", flag.watch(loading.load_model))
    built: list[Any] = []
    monkeypatch.setattr(sft_decoder, "build_trainer", lambda *given, **_: built.append(given))
    result, events = run_with(flag, base, tmp_path)
    assert result.stopped and result.model_id is None
    assert built == [] and "sampled" not in events


@pytest.mark.parametrize(("tuning", "steps"), [("full", 0), ("lora", 1)])
def test_run_is_left_amid_its_first_answers(probed: Path, base: Path, tmp_path: Path, tuning: str, steps: int) -> None:
    """Full tuning shows them before its first step, when there is no model to save."""
    events: list[str] = []
    emit = lambda type, **_: events.append(type)  # noqa: E731
    recipe = tiny.recipe(base, "", {"max_steps": 5, "tuning.type": tuning})
    result = train(Job("run-0", recipe, tiny.rows(), {}, tmp_path, emit, lambda: "sampled" in events))
    assert result.stopped and result.step == steps and (result.model_id is not None) == bool(steps)
    assert events.count("sampled") == 1


def test_waiting_for_the_planner_is_left(probed: Path, base: Path) -> None:
    planner = PlannerService()

    def leave() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        planner.ask(tiny.recipe(base, ""), Rows(16, 64, 30.0), meanwhile=leave)
    while planner._process is None:
        time.sleep(0.01)
    planner._end()


# ---- through the queue -----------------------------------------------------------------------------------------


class Gate:
    """Holds each run of the forge where it begins to be prepared."""

    def __init__(self, forge: Forge) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        self.runs = Runs(forge.store, Admission(forge.datasets, forge.models), before_run=self._hold)

    def _hold(self) -> None:
        self.reached.set()
        self.open.wait(60)

    def leave(self, run: Run, how: Callable[[], None]) -> RunState:
        assert self.reached.wait(60)
        assert run.state is RunState.preparing
        how()
        assert run.state is RunState.stopping
        self.open.set()
        return run.wait(60)


@pytest.fixture
def forge(probed: Path) -> Forge:
    return Forge()


@pytest.fixture
def recipe(base: Path, tmp_path: Path) -> Recipe:
    return tiny.recipe(base, tiny.write_rows(tmp_path / "colours.jsonl"), max_steps=100_000, evaluations=1)


def pause_after_steps(run: Run) -> int:
    next(event for event in run.events() if event["type"] == "progress" and event["step"] >= 3)
    run.pause()
    assert run.wait(60) is RunState.paused
    return run.record.step


def test_stop_while_preparing_is_the_end_of_the_run(forge: Forge, recipe: Recipe) -> None:
    gate = Gate(forge)
    run = gate.runs.start(recipe)
    assert gate.leave(run, run.stop) is RunState.stopped
    assert [event["type"] for event in run.events()] == ["stopped"]
    assert run.model_id is None and not (paths.home() / "models").exists()
    after = gate.runs.start(recipe.with_settings({"max_steps": 1}))
    assert after.wait(60) is RunState.finished


def test_run_that_is_paused_again_while_preparing_keeps_what_it_has(forge: Forge, recipe: Recipe) -> None:
    run = forge.runs.start(recipe)
    step = pause_after_steps(run)
    gate = Gate(forge)
    again = gate.runs.resume(run.id)
    assert gate.leave(again, again.pause) is RunState.paused
    assert (again.record.step, again.record.total_steps) == (step, 100_000)
    kept = checkpoints.find_last(paths.run_dir(run.id) / "checkpoints")
    assert kept and checkpoints.step_of(kept) == step


def test_resumed_run_that_is_stopped_while_preparing_leaves_the_model_that_it_had(forge: Forge, recipe: Recipe) -> None:
    run = forge.runs.start(recipe)
    step = pause_after_steps(run)
    gate = Gate(forge)
    again = gate.runs.resume(run.id)
    assert gate.leave(again, again.stop) is RunState.stopped
    assert read_manifest(again.model_id or "")["steps"] in (step, step + 1)
