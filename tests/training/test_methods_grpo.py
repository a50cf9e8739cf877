"""Rewards: what prompts become, how answers are drawn and scored, and what keeps the model near to where it started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from modelforge.errors import RecipeError
from modelforge.recipe import Recipe
from modelforge.scores.rewards import total
from modelforge.training.methods.grpo import MEASURED, make_encoder
from modelforge.training.run import Job, train
from tests import tiny

Build = Callable[..., Any]
ROWS = tuple(tiny.mapped_rows("prompts"))
GRPO = {
    "method": "grpo",
    "grpo.rewards": [{"type": "length", "least": 3, "most": 8}, {"type": "matches_reference", "weight": 0.5}],
    "grpo.max_completion_length": 8,
    "eval_split": 0.25,
    "per_device_train_batch_size": 4,
}


def encode(row: dict[str, Any], **settings: Any) -> Any:
    recipe = Recipe().with_settings({**GRPO, **settings})
    return make_encoder(tiny.tokenizer(), recipe, tiny.config())(row)


def test_prompt_and_reference_are_handed_on_as_they_are() -> None:
    assert encode(ROWS[0]).features == [ROWS[0]]
    assert encode({"prompt": ROWS[0]["prompt"]}).features == [{"prompt": ROWS[0]["prompt"], "reference": ""}]


@pytest.mark.parametrize(
    "settings", [{"max_length": 512, "grpo.max_completion_length": 480}, {"max_length": 24}], ids=["window", "length"]
)
def test_prompt_that_leaves_no_room_for_an_answer_is_left_out_and_counted(settings: dict[str, Any]) -> None:
    long = {"prompt": tiny.messages("Why? " * 30, "")[:1], "reference": ""}
    assert encode(long).features
    found = encode(long, **settings)
    assert found.features == [] and found.cut > 0


def test_reward_that_compares_needs_references(build: Build) -> None:
    rows = [{"prompt": row["prompt"]} for row in ROWS]
    with pytest.raises(RecipeError, match="reference"):
        build(GRPO, rows=rows)
    assert build({**GRPO, "grpo.rewards": [{"type": "length"}]}, rows=rows)


def test_reward_of_a_step_is_the_weighted_sum_over_its_answers(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = build({**GRPO, "max_steps": 1, "eval_split": 0.0}, rows=ROWS)
    answered: list[tuple[str, str]] = []
    first = trainer.reward_funcs[0]

    def watch(*given: Any, **more: Any) -> Any:
        completions = more.get("completions", given[1] if len(given) > 1 else None)
        answered.extend(
            (completion[0]["content"], reference)
            for completion, reference in zip(completions, more["reference"], strict=True)
        )
        return first(*given, **more)

    watch.__name__ = first.__name__
    trainer.reward_funcs[0] = watch
    trainer.train()
    [logged] = [entry for entry in trainer.state.log_history if "reward" in entry]
    rewards = Recipe().with_settings(GRPO).grpo.rewards
    assert len(answered) == 4 and len(set(answered)) > 1
    assert logged["reward"] == pytest.approx(sum(total(rewards, *each) for each in answered) / 4, abs=1e-5)


def test_each_prompt_is_answered_as_often_as_set(build: Build) -> None:
    trainer = build({**GRPO, "grpo.num_generations": 2}, rows=ROWS)
    batch = [row["prompt"][0]["content"] for row in next(iter(trainer.get_train_dataloader()))]
    assert len(batch) >= 4
    assert all(batch.count(prompt) % 2 == 0 for prompt in batch)


def test_few_held_out_prompts_are_answered_when_measuring(build: Build) -> None:
    many = [{"prompt": tiny.messages(f"{number}?", "")[:1], "reference": str(number)} for number in range(80)]
    trainer = build({**GRPO, "eval_split": 0.5}, rows=many)
    assert len(trainer.eval_dataset) == MEASURED
    assert 0 <= trainer.evaluate()["eval_reward"] <= 1.5


def test_pull_back_compares_with_the_base_model_and_keeps_no_copy_of_a_fresh_adapter(build: Build) -> None:
    trainer = build({**GRPO, "grpo.beta": 0.5, "max_steps": 3, "eval_split": 0.0}, rows=ROWS)
    assert set(trainer.model.peft_config) == {"default"} and trainer.ref_model is None
    trainer.train()
    pulls = [entry["kl"] for entry in trainer.state.log_history if "kl" in entry]
    assert pulls[0] == pytest.approx(0, abs=1e-6) and pulls[-1] > 0


@pytest.mark.slow
def test_same_seed_draws_the_same_answers(build: Build) -> None:
    def rewards(seed: int) -> list[float]:
        trainer = build({**GRPO, "max_steps": 2, "eval_split": 0.0, "seed": seed}, rows=ROWS)
        trainer.train()
        return [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]

    assert rewards(1) == rewards(1) != rewards(2)


def test_model_is_measured_on_answers_that_are_written_in_eval_mode(build: Build) -> None:
    trainer = build({**GRPO, "tuning.lora_dropout": 0.5}, rows=ROWS)
    torch.manual_seed(0)
    first = trainer.evaluate()["eval_reward"]
    torch.manual_seed(0)
    assert trainer.evaluate()["eval_reward"] == first


@pytest.mark.slow
def test_fault_07_run_by_epochs_is_evaluated_as_often_as_set(probed: Path, base: Path, tmp_path: Path) -> None:
    epoch = {"max_steps": 0, "num_train_epochs": 1, "evaluations": 2, "grpo.max_completion_length": 4}
    events: list[dict[str, Any]] = []
    emit = lambda type, **fields: events.append({"type": type, **fields})  # noqa: E731
    recipe = tiny.recipe(base, "", {**GRPO, **epoch})
    result = train(Job("run-0", recipe, ROWS[:6], {}, tmp_path, emit, lambda: False, eval_rows=ROWS[6:7]))
    assert result.step == result.total_steps == 6
    assert [event["step"] for event in events if event["type"] == "evaluated"] == [0, 3, 6]
