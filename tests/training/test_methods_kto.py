"""Labelled answers: what they become, what each is compared with, and that good ones win over bad ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

from modelforge import Forge
from modelforge.data.encode import IGNORED
from modelforge.errors import DatasetError, RecipeError
from modelforge.recipe import Recipe
from modelforge.recipe.nested import Kto
from modelforge.store import RunState
from modelforge.training.examples import count_tokens
from modelforge.training.methods.kto import make_encoder, mismatch
from tests import tiny

Build = Callable[..., Any]
ROWS = tuple(tiny.mapped_rows("labelled"))
KTO = {"method": "kto", "eval_split": 0.25, "per_device_train_batch_size": 4}


def encode(row: dict[str, Any], **settings: Any) -> Any:
    recipe = Recipe().with_settings({"method": "kto", **settings})
    return make_encoder(tiny.tokenizer(), recipe, tiny.config())(row)


def labelled(prompt: str, answer: str, label: bool) -> dict[str, Any]:
    asked, answered = tiny.messages(prompt, answer)
    return {"prompt": [asked], "completion": [answered], "label": label}


# ---- rows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [True, False])
def test_row_is_the_prompt_that_inference_sends_a_whole_answer_and_its_label(label: bool) -> None:
    tokenizer = tiny.tokenizer()
    [feature] = encode(labelled("Which?", "The red one.", label)).features
    prompt = tokenizer.apply_chat_template(tiny.messages("Which?", "")[:1], add_generation_prompt=True)["input_ids"]
    assert feature["prompt_ids"] == list(prompt)
    assert tokenizer.decode(feature["completion_ids"]) == "The red one.<|im_end|>"
    assert feature["label"] is label


def test_answer_that_is_too_long_is_cut_and_counted_and_one_beyond_is_left_out() -> None:
    row = labelled("Which?", "red " * 20, True)
    [whole] = encode(row).features
    cut = encode(row, max_length=len(whole["prompt_ids"]) + 9)
    assert cut.features[0]["completion_ids"] == whole["completion_ids"][:9]
    assert cut.cut == len(whole["completion_ids"]) - 9
    assert encode(labelled("Which? " * 50, "red", True), max_length=32).features == []


def test_each_row_is_mismatched_with_the_answer_before_it_in_its_batch_as_trl_does() -> None:
    features = [encode(row).features[0] for row in ROWS[:9]]
    found = mismatch(features, 4)
    answers = [feature["completion_ids"] for feature in features]
    expected = [answers[index] for index in (3, 0, 1, 2, 7, 4, 5, 6, 7)]  # the last is alone: it gets the one before
    assert [feature["KL_completion_ids"] for feature in found] == expected
    assert DataCollatorForUnpairedPreference(pad_token_id=0)(found[:4])["KL_completion_mask"].any()


def test_batches_hold_every_row_once_and_rows_of_similar_length(build: Build) -> None:
    trainer = build(KTO | {"eval_split": 0.0}, rows=ROWS)
    lengths = [count_tokens(row) for row in trainer.train_dataset]
    assert sorted(lengths) == sorted(count_tokens(encode(row).features[0]) for row in ROWS)
    orders = [
        [tuple(ids) for batch in trainer.get_train_dataloader() for ids in batch["input_ids"].tolist()] for _ in "12"
    ]
    assert orders[0] == orders[1]  # its mismatched answers belong to these batches


# ---- what it learns --------------------------------------------------------------------------------------------


def log_likelihoods(model: Any, features: list[dict[str, Any]]) -> list[float]:
    found = []
    for feature in features:
        ids = feature["prompt_ids"] + feature["completion_ids"]
        labels = torch.tensor([IGNORED] * len(feature["prompt_ids"]) + feature["completion_ids"])[1:]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
        found.append(-float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum", ignore_index=IGNORED)))
    return found


@pytest.mark.parametrize("tuning", ["lora", pytest.param("full", marks=pytest.mark.slow)])
def test_margin_is_the_mean_reward_of_good_answers_less_that_of_bad_ones(build: Build, tuning: str) -> None:
    trainer = build(KTO | {"tuning.type": tuning, "max_steps": 6}, rows=ROWS)
    start = trainer.evaluate()
    assert start["eval_reward_margin"] == pytest.approx(0, abs=1e-6)
    assert start["eval_loss"] == pytest.approx(0.5, abs=1e-6)
    features = list(trainer.eval_dataset)
    reference = log_likelihoods(tiny.model().eval(), features)
    trainer.train()
    after = trainer.evaluate()["eval_reward_margin"]
    tuned = log_likelihoods(trainer.model.eval(), features)
    rewards: dict[bool, list[float]] = {True: [], False: []}
    for feature, now, before in zip(features, tuned, reference, strict=True):
        rewards[feature["label"]].append(0.1 * (now - before))
    good, bad = rewards[True], rewards[False]
    assert after == pytest.approx(sum(good) / len(good) - sum(bad) / len(bad), rel=1e-3) and after > 0.1


@pytest.mark.parametrize("loss_type", get_args(Kto.model_fields["loss_type"].annotation))
def test_every_form_of_the_loss_trains(build: Build, loss_type: str) -> None:
    trainer = build(KTO | {"kto.loss_type": loss_type, "max_steps": 2, "eval_split": 0.0}, rows=ROWS)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2 and all(math.isfinite(loss) for loss in losses)


# ---- what is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("label", "said"), [(True, "labelled good"), (False, "labelled bad")])
def test_answers_of_one_label_are_refused(build: Build, label: bool, said: str) -> None:
    rows = [{**row, "label": label} for row in ROWS]
    with pytest.raises(DatasetError, match=said) as caught:
        build(KTO, rows=rows)
    assert caught.value.fix.startswith("Add ")


def test_batches_of_one_are_refused_for_the_loss_that_compares() -> None:
    with pytest.raises(RecipeError, match="at least 2"):
        Recipe().with_settings({"method": "kto", "per_device_train_batch_size": 1})
    alone = {"method": "kto", "per_device_train_batch_size": 1, "kto.loss_type": "apo_zero_unpaired"}
    assert Recipe().with_settings(alone).per_device_train_batch_size == 1


def test_held_out_answers_of_one_label_have_no_margin(build: Build) -> None:
    trainer = build(KTO, rows=ROWS)
    good = [row for row in trainer.eval_dataset if row["label"]]
    trainer.eval_dataset = trainer.eval_dataset.from_list(good)
    assert "eval_reward_margin" not in trainer.evaluate()


# ---- whole runs ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_paused_run_resumes_to_the_same_end(probed: Path, base: Path, tmp_path: Path, tuning: str) -> None:
    forge = Forge()
    file = tiny.write_jsonl(tmp_path / "labelled.jsonl", tiny.user_rows("labelled", 24))
    recipe = tiny.recipe(base, file, KTO | {"max_steps": 12, "evaluations": 2, "learning_rate": 1e-2}).with_settings(
        {"tuning.type": tuning, "per_device_train_batch_size": 2}
    )
    whole, run = forge.runs.start(recipe), forge.runs.start(recipe)
    whole.wait(100)
    for event in run.events():
        if event["type"] == "progress" and event["step"] == 5:
            run.pause()
    assert run.wait(60) is RunState.paused
    again = Forge().runs.resume(run.id)
    assert again.wait(60) is RunState.finished
    losses = [
        {event["step"]: event["loss"] for event in each.events() if event["type"] == "progress"}
        for each in (whole, again)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6) and len(losses[0]) == 12
    assert again.record.metrics == whole.record.metrics


@pytest.mark.slow
def test_labels_raise_the_margin_on_answers_that_were_held_out(probed: Path, base: Path, tmp_path: Path) -> None:
    forge = Forge()
    file = tiny.write_jsonl(tmp_path / "labelled.jsonl", tiny.user_rows("labelled", 32))
    settings = KTO | {"max_steps": 40, "learning_rate": 1e-2}
    run = forge.runs.start(tiny.recipe(base, file, settings))
    assert run.wait(200) is RunState.finished, run.record.error
    metrics = run.record.metrics
    found = forge.models[run.model_id].evaluate()
    print("held-out reward margin:", metrics["before"]["reward_margin"], "->", found.tuned["reward_margin"])
    assert metrics["before"]["reward_margin"] == pytest.approx(0, abs=1e-6)
    assert found.base["reward_margin"] == 0 and found.tuned["reward_margin"] > 0.5
