"""The verdict at the end of a run: kept with the model, for every way of training, and never in the way of a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge, paths
from modelforge.models.evaluate import conclude
from modelforge.models.folder import read_manifest
from modelforge.models.outcomes import read_outcomes
from modelforge.store import RunState
from modelforge.training import verdict
from tests import tiny

LEARN = {"max_steps": 60, "learning_rate": 2e-2, "per_device_train_batch_size": 8, "evaluations": 1}
Train = Callable[..., Any]


@pytest.fixture(autouse=True)
def home(shared_forge: Forge) -> Path:
    return paths.home()


@pytest.fixture(scope="module")
def train(shared_forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """train(settings, file) -> a finished run on the 32 rows of `tiny`, with 8 held out; once for each."""
    folder, done = tmp_path_factory.mktemp("files"), dict[str, Any]()
    bases = {name: write(folder / name) for name, write in tiny.WRITERS.items()}

    def make(settings: dict[str, Any], architecture: str = "decoder", shape: str = "chat") -> Any:
        key = f"{architecture} {shape} {settings}"
        if key not in done:
            file = tiny.write_jsonl(folder / f"{shape}.jsonl", tiny.user_rows(shape, 32))
            run = shared_forge.runs.start(tiny.recipe(bases[architecture], file, {"eval_split": 0.25, **settings}))
            assert run.wait(200) is RunState.finished, run.record.error
            done[key] = run
        return done[key]

    return make


def test_run_that_learns_is_better_and_the_verdict_is_in_record_and_manifest(train: Train, shared_forge: Forge) -> None:
    run = train(LEARN)
    metrics = run.record.metrics
    found = metrics["verdict"]
    assert (found["word"], found["metric"], found["rows"], found["against"]) == ("better", "rougeL", 8, "base")
    assert "ROUGE-L rose by " in found["why"] and "on 8 rows." in found["why"]
    assert metrics["tuned"]["rougeL"] - metrics["before"]["rougeL"] == pytest.approx(
        found["differences"]["rougeL"]["value"]
    )
    assert metrics["base"] == metrics["before"]
    assert read_manifest(run.model_id)["metrics"] == shared_forge.models.find(run.model_id).metrics == metrics
    kept = read_outcomes(run.model_id)
    assert kept is not None and conclude(kept).verdict.why == found["why"]
    numbers = [each.row for each in kept.outcomes]
    rows = shared_forge.datasets.rows(run.record.dataset_id)
    assert [rows[number - 1]["messages"][-1]["content"] for number in numbers] == [
        each.expected for each in kept.outcomes
    ]


def test_evaluating_the_model_later_gives_the_same_numbers(train: Train, shared_forge: Forge) -> None:
    run = train(LEARN)
    found = shared_forge.models[run.model_id].evaluate()
    assert found.verdict.word == "better"
    for name, value in found.tuned.items():
        assert run.record.metrics["tuned"][name] == pytest.approx(value, rel=1e-3)
        assert run.record.metrics["before"][name] == pytest.approx(found.base[name], rel=1e-3)


def test_one_step_at_a_tiny_rate_makes_no_clear_difference(train: Train) -> None:
    for metric in ("auto", "loss"):
        found = train({"max_steps": 1, "learning_rate": 1e-7, "verdict_metric": metric}).record.metrics["verdict"]
        assert found["word"] == "no clear difference"


OF_EACH: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "preferences": ("decoder", "preference", {"method": "dpo"}, "preference_accuracy"),
    "rewards": ("decoder", "prompts", {"method": "grpo", "grpo.rewards": [{"type": "length", "least": 3, "most": 8}],
        "grpo.max_completion_length": 8, "max_steps": 1, "per_device_train_batch_size": 4}, "mean_reward"),
    "summaries": ("encoder-decoder", "summary", {"task": "summarization", "max_target_length": 12}, "rougeL"),
    "spans": ("encoder", "span", {"task": "question-answering"}, "f1"),
    "text": ("decoder", "text", {}, "loss"),
}  # fmt: skip


@pytest.mark.parametrize("kind", OF_EACH)
@pytest.mark.parametrize("tuning", ["lora", pytest.param("full", marks=pytest.mark.slow)])
def test_every_way_of_training_gets_a_verdict_equal_to_that_of_evaluating(
    train: Train, shared_forge: Forge, kind: str, tuning: str
) -> None:
    architecture, shape, settings, metric = OF_EACH[kind]
    settings = {"max_steps": 6, "learning_rate": 1e-2, "evaluations": 1, **settings, "tuning.type": tuning}
    run = train(settings, architecture, shape)
    found = run.record.metrics["verdict"]
    assert found["metric"] == metric and found["rows"] == 8
    later = shared_forge.models[run.model_id].evaluate()
    for side, values in (("tuned", later.tuned), ("before", later.base)):
        for name, value in values.items():
            assert run.record.metrics[side][name] == pytest.approx(value, rel=1e-3, abs=1e-4), (side, name)


def test_accuracy_before_preferences_is_measured_by_the_likelihood_of_the_answers(train: Train) -> None:
    run = train({"max_steps": 6, "learning_rate": 1e-2, "evaluations": 1, "method": "dpo", "tuning.type": "lora"},
        "decoder", "preference")  # fmt: skip
    first, *_, last = (event for event in run.feed.since(0)[0] if event["type"] == "evaluated")
    assert "preference_accuracy" not in first and first["reward_margin"] == 0
    assert "preference_accuracy" in last
    kept = read_outcomes(run.model_id)
    assert kept is not None
    right = [each.scores["base"]["preference_accuracy"] for each in kept.outcomes]
    assert run.record.metrics["before"]["preference_accuracy"] == sum(right) / 8
    assert all(each.answers["base"] in (each.expected, "I do not know.") for each in kept.outcomes)


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_model_trained_further_is_compared_with_what_it_started_from(
    train: Train, shared_forge: Forge, tuning: str
) -> None:
    first = train({**LEARN, "tuning.type": tuning})
    settings = {"max_steps": 1, "learning_rate": 1e-7, "parent": first.model_id, "tuning.type": tuning}
    second = train(settings)
    found, before = second.record.metrics["verdict"], second.record.metrics["before"]
    assert (found["word"], found["against"]) == ("no clear difference", "before")
    assert before["rougeL"] == pytest.approx(first.record.metrics["tuned"]["rougeL"])
    assert shared_forge.models[second.model_id].chat("hi")  # whole, with its own adapter alone


def test_metric_is_named_before_the_run_and_one_that_is_not_measured_is_refused(
    train: Train, shared_forge: Forge
) -> None:
    assert train({**LEARN, "verdict_metric": "exact_match"}).record.metrics["verdict"]["metric"] == "exact_match"
    with pytest.raises(Exception, match="mean_reward is not measured for sft") as caught:
        train({"verdict_metric": "mean_reward"})
    assert "rougeL" in caught.value.fix  # type: ignore[attr-defined]


def test_stop_during_the_verdict_keeps_the_model_and_says_so(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(job: Any) -> Callable[[float], None]:
        def watch(share: float) -> None:
            raise verdict.RunStopped

        return watch

    monkeypatch.setattr(verdict, "make_watch", stop)
    run = train({"max_steps": 1, "seed": 5})
    assert run.state is RunState.finished and "verdict" not in run.record.metrics
    warnings = [event["message"] for event in run.feed.since(0)[0] if event["type"] == "warning"]
    assert any("Stopped before the verdict was measured." in warning for warning in warnings)
    assert read_outcomes(run.model_id) is None


def test_verdict_that_fails_is_a_warning_and_the_model_is_there(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr("modelforge.training.run.measure_run", fail)
    run = train({"max_steps": 1, "seed": 6})
    assert run.state is RunState.finished and "verdict" not in run.record.metrics
    warnings = [event["message"] for event in run.feed.since(0)[0] if event["type"] == "warning"]
    assert any("could not be measured: MemoryError: no room" in warning for warning in warnings)


def test_run_without_held_out_rows_has_no_verdict(train: Train) -> None:
    assert "verdict" not in train({"max_steps": 1, "eval_split": 0}).record.metrics
