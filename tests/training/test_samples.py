"""Answers to the same prompts while a run trains: when, how many, and that they change nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelforge.models.folder import read_manifest
from modelforge.store import RunState
from modelforge.training import samples
from modelforge.training.run import Job, Result, train
from tests import tiny

STEADY = {"max_steps": 12, "tuning.lora_dropout": 0.1, "evaluations": 4, "eval_split": 0.25, "learning_rate": 1e-2}


def ignore(_: dict[str, Any]) -> bool:
    return False


class Followed:
    """A run carried out in this thread, with all its events. stop, pause: press it once an event is such."""

    def __init__(
        self,
        folder: Path,
        *,
        stop: Callable[[dict[str, Any]], bool] = ignore,
        pause: Callable[[dict[str, Any]], bool] = ignore,
    ) -> None:
        self.folder, self.stop, self.pause = folder, stop, pause
        self.events: list[dict[str, Any]] = []

    def train(self, base: Path, **settings: Any) -> Result:
        recipe = tiny.recipe(base, "", {**STEADY, **settings})
        pressed = [lambda: any(map(self.stop, self.events)), lambda: any(map(self.pause, self.events))]
        emit = lambda type, **fields: self.events.append({"type": type, **fields})  # noqa: E731
        return train(Job("run-0", recipe, tiny.rows(), {}, self.folder, emit, *pressed))

    def of(self, type: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == type]

    @property
    def steps(self) -> list[int]:
        """Those with answers, in the order of the events."""
        return list(dict.fromkeys(event["step"] for event in self.of("sampled")))

    @property
    def curve(self) -> dict[str, float]:
        return {f"{each['type']} {each['step']}": each["loss"] for each in self.events if "loss" in each}


def is_answer(step: int) -> Callable[[dict[str, Any]], bool]:
    return lambda event: event["type"] == "sampled" and event["step"] == step


@pytest.fixture(scope="module")
def whole(measured: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Followed:
    from tests.machine import live_in

    folder = tmp_path_factory.mktemp("whole")
    run = Followed(folder / "run")
    with live_in(folder / "home", measured):
        assert run.train(base).state is RunState.finished
    return run


def test_same_prompts_are_answered_after_each_evaluation(whole: Followed) -> None:
    assert [event["step"] for event in whole.of("evaluated")] == [0, 3, 6, 9, 12]
    assert whole.steps == [0, 3, 6, 9, 12]
    prompts = [[each["prompt"] for each in whole.of("sampled") if each["step"] == step] for step in whole.steps]
    assert prompts[0] and len(prompts[0]) <= samples.PROMPTS and all(each == prompts[0] for each in prompts)
    assert len({event["answer"] for event in whole.of("sampled")}) > 3  # they change while it learns


def test_answers_change_nothing_of_the_run(
    whole: Followed, probed: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for moment in ("on_log", "on_evaluate"):
        monkeypatch.setattr(samples.SamplingCallback, moment, lambda *_, **__: None)
    without = Followed(tmp_path)
    without.train(base)
    assert without.steps == [12] and without.curve == pytest.approx(whole.curve, abs=1e-6)


# ---- before training -------------------------------------------------------------------------------------------


def test_first_step_is_reported_before_the_answers_from_before_training(whole: Followed) -> None:
    kinds = [event["type"] for event in whole.events]
    assert kinds.index("progress") < kinds.index("sampled")
    steps = [event["step"] for event in whole.events if event["type"] in ("progress", "sampled")]
    assert steps[: 2 + samples.PROMPTS] == [1, *[0] * samples.PROMPTS, 2]


@pytest.mark.parametrize("settings", [{}, {"tuning.use_dora": True}], ids=["lora", "dora"])
def test_answers_from_before_training_are_those_of_the_base_model(
    probed: Path, base: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """A run that changes all weights shows them before its first step."""
    rate = {"learning_rate": 0.3, "max_steps": 2, "evaluations": 1}
    adapted, full = Followed(tmp_path / "adapted"), Followed(tmp_path / "full")
    adapted.train(base, **rate, **settings)
    full.train(base, **rate, **{"tuning.type": "full"})
    kinds = [event["type"] for event in full.events]
    assert kinds.index("sampled") < kinds.index("progress")
    before, after = ([e for e in run.of("sampled") if e["step"] == 0] for run in (adapted, full))
    assert len(before) == samples.PROMPTS and before == after
    assert [e["answer"] for e in adapted.of("sampled") if e["step"] == 2] != [e["answer"] for e in before]


def test_model_that_is_trained_further_answers_before_its_first_step(probed: Path, base: Path, tmp_path: Path) -> None:
    """Without its adapter it would be the base model."""
    first, second = Followed(tmp_path / "first"), Followed(tmp_path / "second")
    parent = first.train(base, max_steps=2, learning_rate=0.3).model_id
    second.train(base, max_steps=1, parent=parent)
    kinds = [event["type"] for event in second.events]
    assert kinds.index("sampled") < kinds.index("progress")
    last = [event["answer"] for event in first.of("sampled")][-samples.PROMPTS :]
    assert [event["answer"] for event in second.of("sampled") if event["step"] == 0] == last


def test_run_paused_amid_its_first_answers_shows_them_all_and_no_others_when_it_resumes(
    probed: Path, base: Path, tmp_path: Path
) -> None:
    first, second = Followed(tmp_path, pause=is_answer(0)), Followed(tmp_path)
    result = first.train(base, max_steps=3)
    assert result.state is RunState.paused and result.step in (1, 2)
    assert len(first.of("sampled")) == samples.PROMPTS
    assert second.train(base, max_steps=3).state is RunState.finished
    assert 0 not in second.steps


# ---- stopped or failed amid answers ----------------------------------------------------------------------------


@pytest.mark.slow
def test_many_evaluations_give_no_more_than_the_stated_number_of_answers(
    probed: Path, base: Path, tmp_path: Path
) -> None:
    run = Followed(tmp_path)
    run.train(base, max_steps=24, evaluations=24, early_stopping_patience=0, load_best_model_at_end=False)
    assert len(run.of("evaluated")) == 25
    assert run.steps == [0, 3, 6, 9, 12, 15, 18, 21, 24] and len(run.steps) <= samples.MOST_TIMES + 2


def test_stop_amid_answers_leaves_at_once_and_saves_the_model(probed: Path, base: Path, tmp_path: Path) -> None:
    run = Followed(tmp_path, stop=is_answer(6))
    result = run.train(base)
    assert (result.state, result.step) == (RunState.stopped, 6)
    assert len([event for event in run.of("sampled") if event["step"] == 6]) == 1
    assert read_manifest(result.model_id or "")["steps"] == 6


@pytest.mark.slow
def test_run_paused_amid_answers_resumes_to_the_same_end(
    whole: Followed, probed: Path, base: Path, tmp_path: Path
) -> None:
    first = Followed(tmp_path, pause=is_answer(6))
    result = first.train(base)
    assert (result.state, result.step, result.model_id) == (RunState.paused, 6, None)
    second = Followed(tmp_path)
    assert second.train(base).state is RunState.finished
    assert second.steps == [9, 12] and first.curve | second.curve == pytest.approx(whole.curve, abs=1e-6)


@pytest.mark.slow
def test_answers_that_fail_once_are_not_tried_after_each_evaluation(
    probed: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no memory for answers")

    monkeypatch.setattr(samples, "write_answers", fail)
    run = Followed(tmp_path)
    assert run.train(base).state is RunState.finished
    warnings = [event["message"] for event in run.of("warning") if "no memory for answers" in event["message"]]
    assert len(warnings) == 3  # before, once after an evaluation, and at the end


def test_long_prompt_is_shown_by_both_its_ends() -> None:
    text = "a" * 3000 + "b" * 3000
    shown = samples._shorten(text)
    assert len(shown) <= samples.LONGEST_SHOWN + 3 and shown[0] == "a" and shown[-1] == "b"
