"""How a run ends: what decides, what is saved, what may fail after the model is safe, and runs resumed at their end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from modelforge import paths
from modelforge.errors import RunawayError, StoreError
from modelforge.models.folder import read_manifest
from modelforge.planner import outcomes
from modelforge.store import RunState
from modelforge.training import samples
from modelforge.training.methods import sft_decoder
from modelforge.training.run import Job, Result, train
from tests import tiny

STEADY = {"max_steps": 8, "learning_rate": 1e-2, "eval_split": 0.0}


class Followed:
    """A run carried out in this thread, with all its events. `stop_after`, `pause_after`: the flag is set once that
    step's progress was reported."""

    def __init__(self, folder: Path, *, stop_after: int = 999, pause_after: int = 999) -> None:
        self.folder = folder
        self.stop_after, self.pause_after = stop_after, pause_after
        self.events: list[dict[str, Any]] = []

    def emit(self, type: str, **fields: Any) -> None:
        self.events.append({"type": type, **fields})

    def of(self, type: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == type]

    def is_past(self, step: int) -> bool:
        return any(event["step"] >= step for event in self.of("progress"))

    def train(self, base: Path, **settings: Any) -> Result:
        recipe = tiny.recipe(base, "", {**STEADY, **settings})
        is_stopping, is_pausing = partial(self.is_past, self.stop_after), partial(self.is_past, self.pause_after)
        return train(Job("run-0", recipe, tiny.rows(), {}, self.folder, self.emit, is_stopping, is_pausing))


def models() -> list[Path]:
    return list((paths.home() / "models").glob("*"))


def lose_loss(loss: Any, model: Any) -> Any:
    return loss * float("nan")


def lose_gradient(loss: Any, model: Any) -> Any:
    """A loss that is finite, with gradients that are not."""
    return loss + sum((part * 0).sqrt().sum() for part in model.parameters() if part.requires_grad)


@pytest.fixture
def run_away(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """run_away(lose_loss, after=5): the numbers run away in the step after the fifth."""
    compute_loss = sft_decoder.AnswerTrainer.compute_loss

    def begin(lose: Callable[[Any, Any], Any], after: int) -> None:
        def compute(trainer: Any, *given: Any, **more: Any) -> Any:
            loss = compute_loss(trainer, *given, **more)
            lost = trainer.state.global_step >= after and trainer.model.training
            return lose(loss, trainer.model) if lost else loss

        monkeypatch.setattr(sft_decoder.AnswerTrainer, "compute_loss", compute)

    return begin


@pytest.mark.parametrize(
    ("flag", "lose"), [("stop_after", lose_loss), ("stop_after", lose_gradient), ("pause_after", lose_loss)]
)
def test_fault_01_error_decides_before_stop_and_pause(
    probed: Path, base: Path, tmp_path: Path, run_away: Callable[..., None], *, lose: Any, flag: str
) -> None:
    run_away(lose, after=5)
    run = Followed(tmp_path, **{flag: 5})
    result = run.train(base, save_steps=2)
    assert result.state is RunState.failed and isinstance(result.error, RunawayError)
    assert result.step == run.of("progress")[-1]["step"] == 6  # the step itself is still shown
    assert read_manifest(result.model_id or "")["steps"] == 4


@pytest.mark.parametrize("lose", [lose_loss, lose_gradient])
def test_fault_01_weights_that_are_lost_are_never_saved_as_a_model(
    probed: Path, base: Path, tmp_path: Path, run_away: Callable[..., None], lose: Any
) -> None:
    run_away(lose, after=2)
    with pytest.raises(RunawayError):
        Followed(tmp_path, stop_after=2).train(base)
    assert models() == []


def test_weights_that_are_lost_in_the_last_step_are_not_saved(
    probed: Path, base: Path, tmp_path: Path, run_away: Callable[..., None]
) -> None:
    run_away(lose_gradient, after=7)
    result = Followed(tmp_path).train(base, save_steps=3)
    assert result.state is RunState.failed
    assert read_manifest(result.model_id or "")["steps"] == 6


def test_fault_03_model_is_saved_before_its_answers_are_shown(probed: Path, base: Path, tmp_path: Path) -> None:
    saved: dict[int, int] = {}

    class Watched(Followed):
        def emit(self, type: str, **fields: Any) -> None:
            if type == "sampled":
                saved[fields["step"]] = len(models())

    Watched(tmp_path).train(base, max_steps=1)
    assert saved == {0: 0, 1: 1}


def test_fault_03_failure_after_saving_costs_a_warning_and_not_the_model(
    probed: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no memory left for an answer")

    (paths.cache_dir() / "outcomes.json").mkdir(parents=True)  # nothing can be written there
    monkeypatch.setattr(samples, "write_answers", fail)
    run = Followed(tmp_path)
    result = run.train(base, eval_split=0.25)
    assert result.state is RunState.finished and result.error is None
    assert read_manifest(result.model_id or "")["metrics"] == result.metrics
    assert result.metrics.keys() == {"before", "tuned", "base", "verdict"}
    warnings = [event["message"] for event in run.of("warning")]
    assert any("no memory left for an answer" in message for message in warnings)
    assert "outcomes.json is not kept" in caplog.text


def test_fault_03_run_stopped_before_its_first_step_teaches_the_planner_nothing(
    probed: Path, base: Path, tmp_path: Path
) -> None:
    run = Followed(tmp_path, stop_after=0)
    run.emit("progress", step=0)  # Stop is pressed while the run prepares
    assert run.train(base, eval_split=0.25).state is RunState.stopped
    assert outcomes.read_cache("outcomes.json") == {}
    assert Followed(tmp_path).train(base).state is RunState.finished
    assert outcomes.read_cache("outcomes.json") != {}


@pytest.mark.parametrize(
    "settings",
    [{"max_steps": 3, "eval_split": 0.25}, {"max_steps": 0, "num_train_epochs": 0.5}],
    ids=["steps", "epochs"],
)
def test_fault_16_run_resumed_at_its_last_step_trains_no_further(
    probed: Path, base: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    settings = {**settings, "evaluations": 1}
    whole = Followed(tmp_path / "whole").train(base, **settings)
    paused = Followed(tmp_path / "paused", pause_after=whole.total_steps - 1).train(base, **settings)
    assert paused.state is RunState.paused and paused.step == paused.total_steps == whole.total_steps
    again = Followed(tmp_path / "paused")
    result = again.train(base, **settings)
    assert (result.state, result.step, result.total_steps) == (RunState.finished, whole.step, whole.total_steps)
    assert again.of("progress") == []
    assert result.metrics == whole.metrics
    assert result.metrics.keys() == ({"before", "tuned", "base", "verdict"} if "eval_split" in settings else set())
    first, second = (paths.model_dir(each.model_id or "") / "adapter_model.safetensors" for each in (whole, result))
    assert first.read_bytes() == second.read_bytes()
    assert read_manifest(result.model_id or "")["steps"] == whole.step


def test_fault_16_run_whose_model_could_not_be_saved_is_resumed_at_its_end(
    probed: Path, base: Path, tmp_path: Path
) -> None:
    blocker = paths.home() / "models"
    blocker.write_text("a file where the folder must be")
    settings = {"max_steps": 3, "eval_split": 0.25, "evaluations": 1}
    with pytest.raises(StoreError, match="models"):
        Followed(tmp_path).train(base, **settings)
    blocker.unlink()
    result = Followed(tmp_path).train(base, **settings)
    assert (result.step, result.total_steps) == (3, 3)
    assert result.metrics.keys() == {"before", "tuned", "base", "verdict"}
