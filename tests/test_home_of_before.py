"""What version 0.1.0 left on disk is read and gone on with: datasets, models, runs, the queue, a run that was killed.

The home is real and packed in fixtures/home-0.1.0.tar.xz; fixtures/README.md says what is in it.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge, Recipe
from modelforge.models.sampling import Sampling
from tests.machine import measured, probed

__all__ = ["measured", "probed"]

ARCHIVE = Path(__file__).parent / "fixtures" / "home-0.1.0.tar.xz"
BASE = "ada/tiny-colours"
STEPS = list(range(1, 41))
SHORT = Sampling(max_new_tokens=24)
SAVED_STEP = 10
"""Of the run that was killed: its last checkpoint."""


@pytest.fixture
def told(probed: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Unpacks the home, and the Hub cache beside it; gives the ids of its runs and the answers of its models, by id."""
    from huggingface_hub import constants

    with tarfile.open(ARCHIVE) as packed:
        packed.extractall(probed.parent, filter="data")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(probed.parent / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return dict(json.loads((probed.parent / "told.json").read_text()))


@pytest.fixture
def forge(told: dict[str, Any]) -> Forge:
    return Forge()


@pytest.fixture
def runs(told: dict[str, Any]) -> dict[str, str]:
    """Name -> id."""
    return dict(told["runs"])


def losses(forge: Forge, run_id: str) -> dict[int, float]:
    """Step -> loss, as it was said last."""
    events = forge.runs.handle(run_id).events()
    return {event["step"]: event["loss"] for event in events if event["type"] == "progress"}


def names(forge: Forge, ids: list[str]) -> list[str]:
    return [forge.runs.get(run_id).recipe["name"] for run_id in ids]


def test_registry_is_read_without_a_repair(forge: Forge) -> None:
    counts = [len(service.all()) for service in (forge.datasets, forge.models, forge.runs)]
    assert counts == [2, 2, 6]
    assert forge.store.message == ""


def test_datasets_are_read_with_their_rows(forge: Forge) -> None:
    found = {record.name: record for record in forge.datasets.all()}
    assert {name: (record.rows, record.task, record.shape) for name, record in found.items()} == {
        "colours": (8, "text-generation", "chat"),
        "other-colours": (8, "text-generation", "chat"),
    }
    rows = forge.datasets.rows(found["colours"].id)
    assert len(rows) == 8
    assert rows[0]["messages"] == [
        {"role": "user", "content": "What colour is the lamp of house 0?"},
        {"role": "assistant", "content": "The lamp is red."},
    ]
    others = forge.datasets.rows(found["other-colours"].id)
    assert others[7]["messages"][0]["content"] == "Say what colour is the bird of house 1?"


def test_models_are_read_with_their_recipes(forge: Forge, told: dict[str, Any]) -> None:
    found = {record.id: record for record in forge.models.all()}
    assert found.keys() == told["answers"].keys()
    assert {record.name: record.tuning for record in found.values()} == {"Colours": "lora", "Colours, whole": "full"}
    for record in found.values():
        manifest = forge.models.manifest(record)
        recipe = Recipe.build(manifest["recipe"])
        assert manifest["recipe"].items() <= recipe.model_dump(mode="json").items()  # nothing is lost or read otherwise
        assert (recipe.base_model, recipe.tuning.type, recipe.max_steps) == (BASE, record.tuning, 40)
        assert record.base_model == manifest["base_model"] == BASE
        assert record.metrics == manifest["metrics"] and record.metrics["tuned"]["loss"] < 3
        assert "Colours" in forge.models.card(record.id)


def test_models_answer_as_they_did(forge: Forge, told: dict[str, Any]) -> None:
    for model_id, answers in told["answers"].items():
        model = forge.models[model_id]
        for prompt in list(answers)[::3]:
            assert model.chat(prompt, sampling=SHORT) == answers[prompt]
        assert model.chat(prompt, sampling=SHORT, base=True) != answers[prompt]


@pytest.mark.slow
def test_models_measure_as_they_did(forge: Forge, told: dict[str, Any]) -> None:
    for model_id in told["answers"]:
        record = forge.models.find(model_id)
        found = forge.models[model_id].evaluate()
        assert found.rows == 8
        for side, metrics in {"tuned": found.tuned, "base": found.base}.items():
            assert metrics["perplexity"] == pytest.approx(record.metrics[side]["perplexity"], rel=0.05)


@pytest.mark.parametrize("name", ["lora", "full"])
def test_model_is_trained_further(forge: Forge, runs: dict[str, str], name: str) -> None:
    parent = forge.models.find(forge.runs.get(runs[name]).model_id or "")
    settings = {"parent": parent.id, "dataset": "colours", "max_steps": 2, "dtype": "float32"}
    run = forge.runs.start(Recipe().with_settings({**settings, "tuning.type": parent.tuning}))
    assert run.wait(120) == "finished", run.record.error
    assert forge.models.find(run.model_id or "").parent == parent.id


def test_finished_runs_are_read_with_every_step(forge: Forge, runs: dict[str, str]) -> None:
    for name in ("lora", "full"):
        record = forge.runs.get(runs[name])
        assert (record.state, record.step, record.total_steps, record.error) == ("finished", 40, 40, None)
        assert record.model_id in {model.id for model in forge.models.all()}
        assert list(losses(forge, record.id)) == STEPS


def test_runs_that_were_left_are_found_in_the_order_of_the_queue(forge: Forge, runs: dict[str, str]) -> None:
    left = {record.recipe["name"]: record for record in forge.runs.resumable()}
    assert {name: record.state.value for name, record in left.items()} == {
        "Paused": "paused",
        "Killed": "interrupted",
        "Queued first": "interrupted",
        "Queued last": "interrupted",
    }
    assert list(left) == ["Paused", "Killed", "Queued first", "Queued last"]
    assert [left["Paused"].step, left["Queued first"].step] == [14, 0]
    assert SAVED_STEP < left["Killed"].step < 20 and left["Killed"].total_steps == 40
    assert forge.runs.current() is None and forge.runs.waiting() == []


@pytest.mark.slow
def test_killed_run_goes_on_from_its_checkpoint_to_the_same_end(forge: Forge, runs: dict[str, str]) -> None:
    run = forge.runs.resume(runs["killed"])
    assert run.wait(120) == "finished", run.record.error
    record = run.record
    assert (record.step, record.total_steps) == (40, 40)
    assert run.feed.latest["started"]["step"] == SAVED_STEP
    whole, went_on = losses(forge, runs["lora"]), losses(forge, run.id)
    assert list(went_on) == STEPS
    assert went_on == pytest.approx(whole, rel=0.05)
    assert list(losses(Forge(), run.id)) == STEPS  # as they stand in its file, behind a line that was torn
    assert forge.models[run.model_id or ""].chat("What colour is the boat of house 1?") == "The boat is blue."


@pytest.mark.slow
def test_fault_09_first_event_of_a_run_resumed_after_a_torn_line_is_kept(forge: Forge, runs: dict[str, str]) -> None:
    run = forge.runs.resume(runs["killed"])
    assert run.wait(120) == "finished", run.record.error
    read_again = Forge().runs.handle(run.id)
    assert read_again.feed.latest["started"]["step"] == SAVED_STEP
    assert list(read_again.events()) == list(run.events())


def test_paused_run_goes_on_and_the_queue_stands_behind_it(forge: Forge, runs: dict[str, str]) -> None:
    paused, *others = forge.runs.resume_all()
    assert names(forge, [run.id for run in (paused, *others)]) == ["Paused", "Killed", "Queued first", "Queued last"]
    assert names(forge, [record.id for record in forge.runs.waiting()][-3:]) == [
        "Killed",
        "Queued first",
        "Queued last",
    ]
    forge.runs.move(runs["queued last"], 0)
    for run in others:
        run.pause()
    assert paused.wait(120) == "finished", paused.record.error
    assert paused.feed.latest["started"]["step"] == 14
    assert losses(forge, paused.id) == pytest.approx(losses(forge, runs["lora"]), rel=0.05)
    again = [record.id for record in forge.runs.resumable()]
    assert names(forge, again) == ["Killed", "Queued last", "Queued first"]


@pytest.mark.slow
def test_all_that_was_left_is_trained_to_the_end(forge: Forge, runs: dict[str, str]) -> None:
    for run in forge.runs.resume_all():
        assert run.wait(120) == "finished", run.record.error
        assert list(losses(forge, run.id)) == STEPS
    assert forge.runs.get(runs["queued first"]).started < forge.runs.get(runs["queued last"]).started
    assert forge.runs.resumable() == [] and len(forge.models.all()) == 6
