"""What goes together: sentences that name what works. All combinations are walked in test_matrix.py."""

from __future__ import annotations

from typing import Any

import pytest

from modelforge.architecture import ARCHITECTURES, DECODER, ENCODER, ENCODER_DECODER
from modelforge.choices.combinations import (
    architectures_of,
    check_architecture,
    check_combination,
    check_method,
    check_tuning,
)
from modelforge.choices.tunings import tunings_of
from modelforge.errors import RecipeError
from modelforge.recipe import Recipe, Task
from modelforge.tasks import TASKS


def test_method_that_cannot_train_a_task_or_a_shape_is_refused_with_what_can() -> None:
    check_method(Task.TEXT_GENERATION, "sft")
    for shape in ("chat", "text"):
        check_method(Task.TEXT_GENERATION, "sft", shape)
    check_method(Task.TEXT_GENERATION, "dpo", "preference")
    check_method(Task.SUMMARIZATION, "sft", "summary")
    with pytest.raises(RecipeError, match=r"magic cannot train text-generation\. .*sft for documents and summaries"):
        check_method(Task.TEXT_GENERATION, "magic")
    with pytest.raises(RecipeError, match=r"dpo cannot train prompts and answers\. .*Use sft\.") as caught:
        check_method(Task.TEXT_GENERATION, "dpo", "chat")
    assert caught.value.where == "setting method"
    with pytest.raises(RecipeError, match="grpo cannot train summarization"):
        check_method(Task.SUMMARIZATION, "grpo")


@pytest.mark.parametrize(
    ("task", "method", "architecture", "example"),
    [
        (Task.TEXT_GENERATION, "sft", ENCODER_DECODER, DECODER.example),  # T5 for text generation
        (Task.TEXT_GENERATION, "dpo", ENCODER_DECODER, DECODER.example),
        (Task.TEXT_GENERATION, "grpo", ENCODER, DECODER.example),
        (Task.SUMMARIZATION, "sft", ENCODER, ENCODER_DECODER.example),
        (Task.EXTRACTIVE_QUESTION_ANSWERING, "sft", DECODER, ENCODER.example),  # a decoder for a span head
    ],
)
def test_audit_20_method_that_does_not_train_an_architecture_names_one_that_it_does(
    task: Task, method: str, architecture: Any, example: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        check_architecture(task, method, architecture)
    assert caught.value.where == "setting base_model"
    assert architecture.sentence in caught.value.what and method in caught.value.what
    assert example in caught.value.fix


def test_menus_offer_what_is_allowed() -> None:
    assert {task: spec.methods for task, spec in TASKS.items()} == {
        Task.TEXT_GENERATION: ("sft", "dpo", "kto", "grpo"),
        Task.SUMMARIZATION: ("sft",),
        Task.EXTRACTIVE_QUESTION_ANSWERING: ("sft",),
    }
    assert architectures_of(Task.SUMMARIZATION, "sft") == ("decoder", "encoder-decoder")
    assert architectures_of(Task.TEXT_GENERATION, "dpo") == ("decoder",)
    assert architectures_of(Task.EXTRACTIVE_QUESTION_ANSWERING, "dpo") == ()
    assert tunings_of("cpu") == tunings_of("cuda") == ("lora", "qlora", "full")
    assert tunings_of("mps") == ("lora", "full")


def test_four_bits_on_an_apple_gpu_are_refused_with_the_reason() -> None:
    check_tuning("qlora", "cpu")
    with pytest.raises(RecipeError, match="not on Apple GPUs") as caught:
        check_tuning("qlora", "mps")
    assert (caught.value.where, caught.value.fix) == ("setting tuning.type", "Use lora.")


@pytest.mark.parametrize("name", ["use_dora", "use_rslora"])
def test_ways_of_adding_an_adapter_are_refused_where_none_is_added(name: str) -> None:
    recipe = Recipe().with_settings({"tuning.type": "full", f"tuning.{name}": True})
    with pytest.raises(RecipeError, match="full fine-tuning has no adapter") as caught:
        check_combination(recipe)
    assert caught.value.where == f"setting tuning.{name}"
    for works in ({f"tuning.{name}": False}, {"tuning.type": "lora"}):
        check_combination(recipe.with_settings(works))


def test_what_is_not_known_yet_refuses_nothing() -> None:
    for architecture in (None, *ARCHITECTURES.values()):
        recipe = Recipe(task=Task.SUMMARIZATION)
        if architecture is not ENCODER:
            check_combination(recipe, architecture=architecture)
