"""What the Train tab offers follows from the dataset and the machine, and nothing of it is refused at the start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge, catalog, hardware
from modelforge.architecture import ARCHITECTURES
from modelforge.choices.combinations import check_combination
from modelforge.data.checks import check
from modelforge.data.encode import ChatEncoder
from modelforge.data.lengths import measure
from modelforge.data.samples import samples
from modelforge.goals import goals
from modelforge.hardware import Device
from modelforge.loading import load_tokenizer
from modelforge.recipe import STARTER, Recipe, Task, fields
from modelforge.tasks import SHAPES
from modelforge.ui.look.fields import is_applied, read_defaults
from modelforge.ui.train import offers

GIB = 1024**3


@pytest.fixture(params=["cuda", "mps", "cpu"])
def machine(request: Any, monkeypatch: pytest.MonkeyPatch) -> hardware.Hardware:
    device = Device(request.param, "a device", 64 * GIB, 60 * GIB)
    found = replace(hardware.detect(), devices=(device,))
    monkeypatch.setattr(hardware, "detect", lambda: found)
    return found


@pytest.mark.parametrize("shape", SHAPES.values(), ids=lambda shape: shape.name)
def test_every_combination_that_is_offered_can_be_trained(machine: hardware.Hardware, shape: Any) -> None:
    examples = offers.Examples("any", shape.task, shape, 100, 50.0)
    for _, method in offers.list_methods(examples):
        for _, tuning in offers.list_tunings():
            bases = offers.list_base_models(shape.task, method, tuning)
            assert bases
            for _, base in bases:
                entry = catalog.find(base)
                assert entry
                settings = {"task": shape.task, "method": method, "tuning": {"type": tuning}, "base_model": base}
                rewards = {"grpo": {"rewards": [{"type": "length"}]}} if method == "grpo" else {}
                recipe = Recipe.build({**settings, **rewards})
                kind = machine.device.kind
                architecture = ARCHITECTURES[entry.architecture]
                check_combination(recipe, shape=shape.name, architecture=architecture, device=kind)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=lambda shape: shape.name)
@pytest.mark.parametrize("goal", goals())
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_proposed_settings_make_a_recipe(shape: Any, goal: str, tuning: str) -> None:
    examples = offers.Examples("any", shape.task, shape, 100, 50.0, max_length=256)
    (method, *_) = shape.methods
    proposed = offers.propose_settings(goal, examples, method=method, tuning=tuning, architecture="", parameters=0)
    assert proposed.keys() >= fields().keys() - {"dataset"}
    chosen = {"task": shape.task, "method": method, "tuning.type": tuning, "dataset": "any"}
    recipe = Recipe().with_settings({**proposed, **chosen, "base_model": "a/b"})
    assert recipe.max_length == 256
    assert recipe.method == method


def test_default_of_a_setting_follows_from_task_method_and_tuning() -> None:
    assert read_defaults("text-generation", "dpo", "full")["learning_rate"] == 5e-6
    assert read_defaults("text-generation", "sft", "lora") | {"eval_dataset": ""} == {
        **read_defaults("text-generation", "sft", "qlora"),
        "tuning.type": "lora",
    }


def test_only_groups_of_settings_that_mean_something_are_shown() -> None:
    assert is_applied("dpo", "dpo")
    assert not is_applied("dpo", "sft")
    assert not is_applied("grpo", "dpo")
    assert not is_applied("tuning", "sft", "full")
    assert not is_applied("tuning", "sft", "lora", is_further=True)
    assert is_applied("training", "grpo", "full", is_further=True)


def test_base_model_stays_while_it_can_do_the_task() -> None:
    questions, texts = SHAPES["span"].task, SHAPES["chat"].task
    encoder, decoder = "sentence-transformers/all-MiniLM-L6-v2", "HuggingFaceTB/SmolLM2-135M-Instruct"

    def choose(wanted: str, task: Any, *, kept: bool) -> str:
        return offers.choose_base_model(wanted, [("first", "first")], task=task, method="sft", kept=kept)

    assert choose(decoder, texts, kept=True) == decoder
    assert choose(decoder, questions, kept=False) == "first"
    assert choose(encoder, questions, kept=False) == encoder
    assert choose("somebody/typed-this", texts, kept=True) == "somebody/typed-this"
    assert choose("somebody/typed-this", questions, kept=False) == "first"
    assert choose("", texts, kept=True) == "first"


def test_mean_length_that_a_plan_goes_by_is_about_what_the_tokenizer_counts(starter_cache: Path) -> None:
    encoder = ChatEncoder(load_tokenizer(starter_cache / STARTER.rpartition("/")[2], STARTER), 4096)
    for sample in samples():
        if sample.task is not Task.EXTRACTIVE_QUESTION_ANSWERING:
            measured = measure(check(sample.path, sample.task).mapped_rows, encoder).tokens
            reckoned = offers.find_examples(Forge(), sample.name).mean_tokens
            assert reckoned == pytest.approx(sum(measured) / len(measured), rel=0.4)
