"""Preferences: what pairs become, and what the model is compared with while it learns to prefer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from modelforge.compute.fused_model import fused_model
from modelforge.compute.tune import tune
from modelforge.data.encode import IGNORED
from modelforge.recipe import Recipe
from modelforge.recipe.nested import Dpo
from modelforge.training.examples import encode_examples
from modelforge.training.methods import dpo
from modelforge.training.methods.dpo import make_encoder
from tests import tiny
from tests.trainers import PLAIN

Build = Callable[..., Any]
ROWS = tuple(tiny.mapped_rows("preference"))
DPO = {"method": "dpo", "eval_split": 0.25}


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def pair(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    return {"prompt": tiny.messages(prompt, "")[:1], "chosen": chat(chosen), "rejected": chat(rejected)}


def encode(row: dict[str, Any], **settings: Any) -> Any:
    recipe = Recipe().with_settings({"method": "dpo", **settings})
    return make_encoder(tiny.tokenizer(), recipe, tiny.config())(row)


# ---- pairs -----------------------------------------------------------------------------------------------------


def test_pair_is_the_prompt_that_inference_sends_and_two_whole_answers() -> None:
    tokenizer = tiny.tokenizer()
    [feature] = encode(pair("Which?", "The red one.", "None.")).features
    prompt = tokenizer.apply_chat_template(tiny.messages("Which?", "")[:1], add_generation_prompt=True)["input_ids"]
    assert feature["prompt_ids"] == list(prompt)
    assert tokenizer.decode(feature["chosen_ids"]) == "The red one.<|im_end|>"
    assert tokenizer.decode(feature["rejected_ids"]) == "None.<|im_end|>"


def test_answers_that_are_too_long_are_cut_and_counted() -> None:
    whole = encode(pair("Which?", "red " * 20, "blue")).features[0]
    room = len(whole["prompt_ids"]) + 9
    cut = encode(pair("Which?", "red " * 20, "blue"), max_length=room)
    assert cut.features[0]["chosen_ids"] == whole["chosen_ids"][:9]
    assert cut.features[0]["rejected_ids"] == whole["rejected_ids"][:9]
    assert cut.cut == sum(max(len(whole[side]) - 9, 0) for side in ("chosen_ids", "rejected_ids")) > 0


def test_pair_of_which_nothing_to_prefer_is_left_is_left_out() -> None:
    assert encode(pair("Which? " * 50, "red", "blue"), max_length=32).features == []
    alike = pair("Which?", "red " * 20, "red " * 20 + "or so")
    assert encode(alike).features and not encode(alike, max_length=40).features


def test_prompt_and_padding_carry_no_loss(build: Build) -> None:
    trainer = build(DPO, rows=ROWS)
    batch = next(iter(trainer.get_train_dataloader()))
    tokenizer = trainer.processing_class
    answers = [
        tokenizer.decode([token for token, counted in zip(ids, mask, strict=True) if counted])
        for ids, mask in zip(batch["input_ids"].tolist(), batch["completion_mask"].tolist(), strict=True)
    ]
    assert len(answers) == 4  # two pairs, the better answers first
    assert all(answer.startswith("The ") and answer.endswith(".<|im_end|>") for answer in answers[:2])
    assert answers[2:] == ["I do not know.<|im_end|>"] * 2


# ---- what the model is compared with ---------------------------------------------------------------------------


def log_likelihoods(model: Any, features: Sequence[dict[str, Any]]) -> list[float]:
    """Of each pair: that of the better answer less that of the worse one."""
    found = []
    for feature in features:
        sums = []
        for side in ("chosen_ids", "rejected_ids"):
            ids = feature["prompt_ids"] + feature[side]
            labels = torch.tensor([IGNORED] * len(feature["prompt_ids"]) + feature[side])[1:]
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
            sums.append(
                -float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum", ignore_index=IGNORED))
            )
        found.append(sums[0] - sums[1])
    return found


def expected_margin(trainer: Any, reference: Sequence[float]) -> float:
    tuned = log_likelihoods(trainer.model.eval(), list(trainer.eval_dataset))
    return 0.1 * sum(now - before for now, before in zip(tuned, reference, strict=True)) / len(tuned)


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_model_is_compared_with_itself_before_the_first_step(build: Build, tuning: str) -> None:
    trainer = build(DPO | {"tuning.type": tuning, "max_steps": 4}, rows=ROWS)
    start = trainer.evaluate()
    assert start["eval_rewards/margins"] == pytest.approx(0, abs=1e-6)
    assert start["eval_loss"] == pytest.approx(math.log(2), abs=1e-6)
    reference = log_likelihoods(tiny.model().eval(), list(trainer.eval_dataset))
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_rewards/margins"] == pytest.approx(expected_margin(trainer, reference), rel=1e-3)
    assert after["eval_rewards/margins"] > 0.1


def test_fresh_adapter_has_no_second_copy(build: Build) -> None:
    trainer = build(DPO, rows=ROWS)
    assert set(trainer.model.peft_config) == {"default"}
    assert not any(".ref." in name for name, _ in trainer.model.named_parameters())
    assert trainer.ref_model is None


def test_adapter_that_is_trained_further_is_compared_with_how_it_was(tmp_path: Path) -> None:
    def parent() -> Any:
        model = tune(tiny.model(), Recipe())
        torch.manual_seed(5)
        for name, part in model.named_parameters():
            if "lora_B" in name:
                part.data = torch.randn_like(part) * 0.1
        return model

    recipe = Recipe().with_settings(
        DPO | {"max_steps": 4, "learning_rate": 1e-2, "per_device_train_batch_size": 2, "parent": "model-000000000000"}
    )
    examples = encode_examples(ROWS, make_encoder(tiny.tokenizer(), recipe, tiny.config()), recipe)
    trainer = dpo.build_trainer(parent(), tiny.tokenizer(), examples, recipe=recipe, compute=PLAIN, folder=tmp_path)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(math.log(2), abs=1e-6)
    reference = log_likelihoods(parent().eval(), list(trainer.eval_dataset))
    copies = {name: part.clone() for name, part in trainer.model.named_parameters() if ".ref." in name}
    assert copies
    trainer.train()
    margin = trainer.evaluate()["eval_rewards/margins"]
    assert margin == pytest.approx(expected_margin(trainer, reference), rel=1e-3) and margin > 0.1
    now = dict(trainer.model.named_parameters())
    assert all(torch.equal(part, now[name]) and not now[name].requires_grad for name, part in copies.items())


def test_fused_layers_train_as_plain_ones(build: Build) -> None:
    runs = []
    for fused in (True, False):
        trainer = build(DPO | {"max_steps": 5, "tuning.r": 1}, rows=ROWS)
        if fused:
            with fused_model(trainer.model, "cpu") as layers:
                trainer.train()
            assert len(layers) == tiny.config().num_hidden_layers
        else:
            trainer.train()
        runs.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert len(runs[0]) == 5 and runs[0] == pytest.approx(runs[1], abs=1e-4)


@pytest.mark.parametrize("loss_type", get_args(Dpo.model_fields["loss_type"].annotation))
def test_every_form_of_the_loss_trains(build: Build, loss_type: str) -> None:
    smoothing = {"dpo.label_smoothing": 0.001} if loss_type == "exo_pair" else {}
    trainer = build(DPO | {"dpo.loss_type": loss_type, "max_steps": 2, "eval_split": 0.0, **smoothing}, rows=ROWS)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2 and all(math.isfinite(loss) for loss in losses)
