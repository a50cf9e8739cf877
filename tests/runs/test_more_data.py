"""What more data or more epochs would give, told by real runs on a quarter, a half and all of the rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge, paths
from modelforge.data.split import divide, keep_share
from modelforge.errors import RunStateError
from modelforge.models.outcomes import read_outcomes
from modelforge.recipe import Recipe
from modelforge.runs.more_data import check_can_ask, count_trained, find_smaller, read_curve, vary_share
from modelforge.runs.service import Run
from modelforge.store import RunRecord, RunState, utc_now
from tests import tiny
from tests.machine import live_in

THINGS = ("lamp", "boat", "door", "bird", "chair", "horse", "cup", "bell", "coat", "wheel", "stone", "fence")
PAIRS = [
    (f"What colour is the {thing} of house {number}?", f"The {thing} is {colour}.")
    for number, colour in enumerate(tiny.COLOURS)
    for thing in THINGS
]
SETTINGS: dict[str, Any] = {
    "eval_split": 0.25, "num_train_epochs": 4, "max_steps": 0, "learning_rate": 1e-2, "per_device_train_batch_size": 8,
    "load_best_model_at_end": False, "early_stopping_patience": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory, measured: Path) -> Iterator[Forge]:
    with live_in(tmp_path_factory.mktemp("growth") / "home", measured):
        yield Forge()


@pytest.fixture(autouse=True)
def home(forge: Forge) -> Path:
    return paths.home()


@pytest.fixture(scope="module")
def whole(forge: Forge, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    file = tiny.write_rows(tmp_path_factory.mktemp("files") / "hats.jsonl", PAIRS)
    run = forge.runs.start(tiny.recipe(base, file, SETTINGS))
    assert run.wait(200) is RunState.finished, run.record.error
    return run


def test_share_of_the_training_rows_is_a_part_of_a_larger_share_and_the_held_out_rows_stay() -> None:
    rows = tiny.rows(32)
    whole, half, quarter = (divide(rows, Recipe(eval_split=0.25, train_share=share)) for share in (1.0, 0.5, 0.25))
    assert whole[1] == half[1] == quarter[1]
    assert {*quarter[0]} < {*half[0]} < {*whole[0]}
    assert (len(quarter[0]), len(half[0]), len(whole[0])) == (6, 12, 24)
    assert keep_share([7], Recipe(train_share=0.01)) == [7]
    assert keep_share(range(100), Recipe(train_share=0.5)) != keep_share(range(100), Recipe(train_share=0.5, seed=1))


@pytest.mark.slow
def test_smaller_runs_are_ordinary_ones_on_the_same_held_out_rows(forge: Forge, whole: Run) -> None:
    before = forge.runs.describe_growth(whole.id)
    assert before.data is None and not before.smaller and before.epochs.word
    smaller = forge.runs.start_smaller(whole.id)
    assert [run.id for run in forge.runs.start_smaller(whole.id)] == [run.id for run in smaller]  # no third one
    for run in smaller:
        assert run.wait(200) is RunState.finished, run.record.error
    assert [run.id for run in forge.runs.start_smaller(whole.id)] == [run.id for run in smaller]
    listed = [whole, *smaller]
    rows = [[each.id for each in found.outcomes] for run in listed if (found := read_outcomes(run.model_id or ""))]
    assert rows[0] == rows[1] == rows[2] and len(rows) == 3
    counts = [count_trained(run.record) for run in listed]
    assert counts == [counts[0], round(counts[0] / 2), round(counts[0] / 4)]
    found = forge.runs.describe_growth(whole.id)
    assert found.data is not None and [rows for rows, _ in found.data.points] == counts[::-1]
    assert found.data.points[-1][1] == pytest.approx(whole.record.metrics["tuned"][found.data.metric])
    assert "training rows" in found.data.why
    assert found.as_json()["data"]["word"] == found.data.word


def test_recipe_that_differs_is_not_a_smaller_run() -> None:
    def make(state: RunState = RunState.finished, **recipe: Any) -> RunRecord:
        return RunRecord(
            id="run-000000000000", state=state, created=utc_now(), dataset_id="dataset-0", dataset_name="hats",
            recipe=Recipe(dataset="hats").model_dump(mode="json") | recipe, model_id="model-000000000000",
        )  # fmt: skip

    whole, same = make(), make(train_share=0.5, name="x")
    assert find_smaller(whole, [make(train_share=0.5, learning_rate=0.5), make(train_share=0.3), whole]) == {}
    assert find_smaller(whole, [make(RunState.failed, train_share=0.5), same]) == {0.5: same}
    assert find_smaller(whole, [make(RunState.queued, train_share=0.5), same]) == {0.5: same}


def test_steps_shrink_with_the_rows() -> None:
    assert vary_share(Recipe(max_steps=10), 0.25).max_steps == 2
    assert vary_share(Recipe(), 0.5).max_steps == 0
    assert vary_share(Recipe(name="Hats"), 0.5).name == "Hats: half of the data"


@pytest.mark.parametrize(
    ("changes", "recipe", "what"),
    [
        ({"model_id": None}, {}, "no verdict"),
        ({"metrics": {}}, {}, "no verdict"),
        ({"state": RunState.stopped}, {}, "no verdict"),
        ({}, {"train_share": 0.5}, "share of its examples"),
        ({"model_id": "model-000000000000"}, {}, "was deleted"),
    ],
)
def test_run_that_cannot_be_asked_about_says_why(changes: dict[str, Any], recipe: dict[str, Any], what: str) -> None:
    record = RunRecord(
        id="run-000000000000", state=RunState.finished, created=utc_now(), dataset_id="dataset-0", dataset_name="hats",
        recipe=Recipe(dataset="hats").model_dump(mode="json") | recipe, model_id="model-000000000000",
        metrics={"verdict": {"metric": "rougeL", "rows": 40}},
    )  # fmt: skip
    with pytest.raises(RunStateError, match=what) as caught:
        check_can_ask(record.model_copy(update=changes))
    assert caught.value.fix


def test_curve_is_read_from_the_events_of_a_run() -> None:
    events: list[dict[str, Any]] = [
        {"type": "evaluated", "step": 0, "loss": 3.0},
        {"type": "progress", "step": 10, "epoch": 0.5, "loss": 2.0},
        {"type": "evaluated", "step": 10, "loss": 2.0},
        {"type": "evaluated", "step": 20, "loss": None},
    ]
    assert read_curve(events) == ("loss", [(0.0, 3.0), (0.5, 2.0)])
    assert read_curve([]) == ("loss", [])
