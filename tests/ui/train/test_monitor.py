"""What a page shows of a run, from the events in the run's file: curves, answers, numbers, state and log."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from modelforge.runs.feed import Feed
from modelforge.store import RunRecord, RunState
from modelforge.ui.train.monitor import MOST_POINTS, RunView, show_run

TIME = "2026-11-02T10:00:00Z"
STARTED = {
    "type": "started", "step": 0, "total_steps": 10, "base_model": "b", "method": "sft", "tuning": "lora",
    "device": "cpu", "dtype": "float32", "trainable_parameters": 10, "parameters": 100, "train_rows": 20,
    "eval_rows": 4, "reasons": ["no GPU"], "predicted_bytes": 3 * 1024**3,
}  # fmt: skip


def progress(step: int, loss: float | None = 1.0, **changes: Any) -> dict[str, Any]:
    numbers = {"total_steps": 10, "learning_rate": 1e-4, "tokens": 64 * step, "tokens_per_second": 80.0}
    more = {"eta_seconds": 75.0, "memory_bytes": 2 * 1024**3, "epoch": 0.1, "elapsed_seconds": 1.0}
    return {"type": "progress", "step": step, "loss": loss, **numbers, **more, **changes}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def write(path: Path, *events: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({"time": TIME, "run_id": "run-1", **event}) + "\n" for event in events)


def view_of(path: Path, *events: dict[str, Any]) -> RunView:
    write(path, *events)
    view = RunView(Feed(path))
    view.refresh()
    return view


def record(state: RunState = RunState.running, **changes: Any) -> RunRecord:
    recipe = {"name": "Towns"}
    fixed: dict[str, Any] = {"id": "run-1", "created": TIME, "dataset_id": "dataset-1", "dataset_name": "towns"}
    return RunRecord(state=state, recipe=recipe, **fixed, **changes)


def test_curves_hold_what_was_measured(path: Path) -> None:
    view = view_of(
        path,
        STARTED,
        progress(1, 2.0),
        progress(2, None),
        progress(3, 1.5, reward=0.25),
        {"type": "evaluated", "step": 3, "loss": 1.75, "perplexity": 5.75},
    )
    assert view.curves == {"loss": [(1, 2.0), (3, 1.5)], "reward": [(3, 0.25)]}
    assert view.held_out == {"loss": [(3, 1.75)], "perplexity": [(3, 5.75)]}


STORING = {"type": "storing", "share": 0.4, "seconds_left": 75}
STORED = {
    "type": "stored", "layers": 20, "rows": 24, "tokens": 4800, "bytes": 11_000_000, "seconds": 12.3, "reused": False,
}  # fmt: skip


def test_what_is_computed_once_is_shown_until_it_is_done(path: Path) -> None:
    view = view_of(path, STARTED, STORING)
    assert "computing the frozen layers once · 40% · 1 min 15 s left" in show_run(record(), view)[0]
    write(path, STORED)
    view.refresh()
    assert "frozen layers" not in show_run(record(), view)[0]
    assert view.lines[-1].endswith("output of the 20 frozen layers: computed once in 12 s, 11 MB")


@pytest.mark.parametrize("after", [{"type": "warning", "message": "the disk is full"}, {**STARTED, "step": 2}])
def test_what_is_not_computed_after_all_is_not_shown(path: Path, after: dict[str, Any]) -> None:
    assert "frozen layers" not in show_run(record(), view_of(path, STARTED, STORING, after))[0]


def test_the_loss_of_an_evaluation_of_the_first_version_is_shown(path: Path) -> None:
    assert view_of(path, {"type": "evaluated", "step": 3, "eval_loss": 1.75}).held_out == {"loss": [(3, 1.75)]}


def test_a_resumed_run_drops_the_points_after_its_checkpoint(path: Path) -> None:
    view = view_of(
        path,
        STARTED,
        *(progress(step, float(step)) for step in range(1, 5)),
        {"type": "warning", "step": 4, "message": "of before"},
        {"type": "evaluated", "step": 4, "loss": 9.0},
        {**STARTED, "step": 2},
        progress(3, 0.5),
    )
    assert view.curves["loss"] == [(1, 1.0), (2, 2.0), (3, 0.5)]
    assert view.held_out == {"loss": []}
    assert view.warnings == []


def test_a_long_run_keeps_a_bounded_number_of_points(path: Path) -> None:
    view = view_of(path, *(progress(step) for step in range(1, 2 * MOST_POINTS)))
    points = view.curves["loss"]
    assert MOST_POINTS / 2 <= len(points) <= MOST_POINTS
    assert points[0][0] == 1
    assert points[-1][0] >= 2 * MOST_POINTS - 2


def sampled(step: int, answer: str, prompt: str = "Where?") -> dict[str, Any]:
    return {"type": "sampled", "prompt": prompt, "expected": "There.", "step": step, "answer": answer}


def cells(shown: list[Any]) -> list[str]:
    return re.findall("<td[^>]*>([^<]*)</td>", shown[-1])


def test_answers_before_and_after_are_side_by_side(path: Path) -> None:
    shown = show_run(record(), view_of(path, sampled(0, "Who knows?")))
    assert "before training" in shown[3] and cells(shown) == ["Where?", "There.", "Who knows?"]
    shown = show_run(record(), view_of(path, sampled(10, "<b>There</b>")))
    assert "after step 10" in shown[3] and "1" in shown[3]
    assert cells(shown) == ["Where?", "There.", "Who knows?", "&lt;b&gt;There&lt;/b&gt;"]


def test_answers_of_each_step_can_be_shown_and_those_of_the_saved_model_come_first(path: Path) -> None:
    events = [sampled(step, f"{prompt} {step}", prompt) for step in (0, 3, 6) for prompt in ("a", "b")]
    view = view_of(path, *events, sampled(3, "a best", "a"), sampled(3, "b best", "b"))
    title, _, earlier, later, table = show_run(record(RunState.finished, model_id="model-1"), view)[3:]
    assert "after step 3, of the saved model" in title and "2 of 3" in title
    assert "a best" in table and earlier.interactive and later.interactive
    title, _, _, later, table = show_run(record(), view, at=6)[3:]
    assert "after step 6" in title and "saved" not in title and "b 6" in table and not later.interactive
    title, *_, table = show_run(record(), view, at=5)[3:]  # no such step: the newest
    assert "after step 3" in title and "a best" in table


def test_resumed_run_keeps_the_answers_before_its_checkpoint(path: Path) -> None:
    events = [sampled(step, str(step)) for step in (0, 3, 6)]
    view = view_of(path, STARTED, *events, {**STARTED, "step": 4}, sampled(8, "8"))
    assert view.answers.steps == [0, 3, 8]


def test_a_running_run_shows_its_step_its_time_and_its_numbers(path: Path) -> None:
    view = view_of(path, STARTED, progress(3, 1.25), {"type": "evaluated", "step": 3, "loss": 1.5})
    head, chart, log, *_ = show_run(record(peak_bytes=2 * 1024**3), view)
    assert "step 3 of 10 · 30% · 1 min 15 s left" in head
    tiles = dict(re.findall(r"<span>([^<]*)</span><b>([^<]*)</b>", head))
    assert tiles["Step"] == "3 / 10"
    assert tiles["Loss"] == "1.250"
    assert tiles["Held-out loss"] == "1.500"
    assert tiles["Tokens/s"] == "80"
    assert tiles["Predicted memory"].startswith("3")
    assert "step 3: held-out loss 1.5000" in chart
    assert log.startswith("10:00:00  ")


def test_training_by_reward_shows_the_reward_instead_of_the_loss(path: Path) -> None:
    view = view_of(
        path, progress(1, 0.0, reward=0.5), {"type": "evaluated", "step": 1, "mean_reward": 0.4, "loss": 0.0}
    )
    head, chart, *_ = show_run(record(), view)
    tiles = dict(re.findall(r"<span>([^<]*)</span><b>([^<]*)</b>", head))
    assert tiles["Reward"] == "0.500"
    assert tiles["Mean reward"] == "0.400"
    assert "Loss" not in tiles
    assert "Held-out loss" not in tiles
    assert "mean reward on held-out prompts" in chart


def test_a_failed_run_shows_what_happened_and_the_fix_as_text(path: Path) -> None:
    error = {"kind": "out of memory", "what": "No <memory> left.", "where": "cpu", "fix": "Choose a smaller model."}
    head = show_run(record(RunState.failed, error=error), view_of(path, STARTED))[0]
    assert "cpu: No &lt;memory&gt; left." in head
    assert "Choose a smaller model." in head


@pytest.mark.parametrize("state", [state for state in RunState if state not in (RunState.finished, RunState.failed)])
def test_every_state_has_a_sentence_before_the_first_event(path: Path, state: RunState) -> None:
    path.touch()
    head, chart, log, *_, answers = show_run(record(state), view_of(path))
    assert "mf-note" in head
    assert "Towns" in head
    assert (chart, answers, log) == ("", "", "")
