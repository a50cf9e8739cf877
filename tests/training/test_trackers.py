"""Trackers: what they receive, that nothing leaves the machine, and that one that fails never ends a run."""

from __future__ import annotations

import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge
from modelforge.caller import Caller, acting_as
from modelforge.choices.trackers import TRACKERS, check_tracker
from modelforge.errors import AccessError, RecipeError
from modelforge.recipe import Recipe, fields
from modelforge.store import RunState
from modelforge.training.run import Job, Result, train
from tests import tiny

STEADY = {"max_steps": 4, "evaluations": 2, "eval_split": 0.25, "name": "Colours"}
AFAR = Caller("bert", "bert", is_owner=False, is_local=False)


def installed(name: str) -> Any:
    return pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed")


class Followed:
    """A run carried out in this thread, with all its events; paused after a step, if one is given."""

    def __init__(self, folder: Path, base: Path, *, pause_after: int = 999, **settings: Any) -> None:
        self.events: list[dict[str, Any]] = []
        emit = lambda type, **fields: self.events.append({"type": type, **fields})  # noqa: E731
        is_past = lambda: any(each["step"] >= pause_after for each in self.of("progress"))  # noqa: E731
        recipe = tiny.recipe(base, "", {**STEADY, **settings})
        self.result: Result = train(Job("run-0", recipe, tiny.rows(), {}, folder, emit, lambda: False, is_past))

    def of(self, type: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == type]


def read_tensorboard(folder: Path) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return {tag: {each.step: each.value for each in found.Scalars(tag)} for tag in found.Tags()["scalars"]}


@installed("tensorboard")
def test_tensorboard_receives_what_the_feed_shows(probed: Path, base: Path, tmp_path: Path) -> None:
    run = Followed(tmp_path, base, report_to="tensorboard")
    assert run.result.state is RunState.finished and not run.of("warning")
    recorded = read_tensorboard(tmp_path)
    for name in ("loss", "learning_rate"):
        assert recorded[f"train/{name}"] == pytest.approx({each["step"]: each[name] for each in run.of("progress")})
    for name in ("loss", "perplexity"):
        assert recorded[f"eval/{name}"] == pytest.approx({each["step"]: each[name] for each in run.of("evaluated")})


@pytest.mark.slow
@installed("tensorboard")
def test_resumed_run_is_recorded_as_one(probed: Path, base: Path, tmp_path: Path) -> None:
    first = Followed(tmp_path, base, report_to="tensorboard", pause_after=2)
    assert first.result.state is RunState.paused
    second = Followed(tmp_path, base, report_to="tensorboard")
    assert second.result.state is RunState.finished
    assert sorted(read_tensorboard(tmp_path)["train/loss"]) == [1, 2, 3, 4]


@installed("tensorboard")
def test_tracker_that_fails_costs_one_warning_and_not_the_run(probed: Path, base: Path, tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("a file where its folder would be")
    run = Followed(tmp_path, base, report_to="tensorboard")
    assert run.result.state is RunState.finished and run.result.model_id
    (warning,) = run.of("warning")
    assert "tensorboard failed and records nothing more" in warning["message"]


@installed("trackio")
def test_trackio_keeps_everything_on_this_machine(
    probed: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []
    connect = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", lambda self, place: (asked.append(place), connect(self, place))[1])
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    run = Followed(tmp_path / "run", base, report_to="trackio")
    assert run.result.state is RunState.finished and not run.of("warning")
    assert [place for place in asked if isinstance(place, tuple) and place[0] != "127.0.0.1"] == []
    assert capfd.readouterr().out == ""  # where `--json` prints

    from trackio.sqlite_storage import SQLiteStorage

    logged = SQLiteStorage.get_logs("modelforge", "Colours run-0")
    losses = [each["train/loss"] for each in logged if "train/loss" in each]
    assert losses == pytest.approx([each["loss"] for each in run.of("progress")])
    assert [each["eval/loss"] for each in logged if "eval/loss" in each] == pytest.approx(
        [each["loss"] for each in run.of("evaluated")]
    )


@installed("wandb")
def test_wandb_is_offline_unless_it_is_set_up_to_send(
    probed: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    run = Followed(tmp_path, base, report_to="wandb")
    assert run.result.state is RunState.finished and not run.of("warning")
    assert list(tmp_path.glob("wandb/wandb/offline-run-*/*.wandb"))


@pytest.mark.parametrize(
    ("given", "name"),
    [("tensorboard", "tensorboard"), (["trackio"], "trackio"), ([], "none"), (None, "none"), ("none", "none")],
)
def test_names_are_those_of_transformers(given: Any, name: str) -> None:
    assert Recipe.build({"report_to": given}).report_to == name
    assert Recipe().report_to == "none" and "report_to" in fields()


@pytest.mark.parametrize("given", ["mlflow", ["trackio", "wandb"], "all"])
def test_other_trackers_are_refused_with_those_there_are(given: Any) -> None:
    with pytest.raises(RecipeError, match="setting report_to"):
        Recipe.build({"report_to": given})


def test_tracker_that_is_not_installed_is_refused_at_the_start(probed: Path, base: Path, tmp_path: Path) -> None:
    missing = next((name for name, tracker in TRACKERS.items() if find_spec(tracker.package) is None), None)
    if missing is None:
        pytest.skip("all trackers are installed")
    file = tiny.write_rows(tmp_path / "colours.jsonl")
    with pytest.raises(RecipeError, match=f"{missing} is not installed") as caught:
        Forge().runs.start(tiny.recipe(base, file, report_to=missing))
    assert f"pip install 'modelforge[{missing}]'" in caught.value.fix


def test_from_afar_only_the_run_s_own_folder_is_written() -> None:
    with acting_as(AFAR):
        for name in ("trackio", "wandb"):
            with pytest.raises(AccessError, match="not possible from afar") as caught:
                check_tracker(name)
            assert caught.value.where == "setting report_to"
        check_tracker("none")
        if find_spec("tensorboard"):
            check_tracker("tensorboard")
