"""What lowers memory, where nothing was computed: the usual changes, one step of each."""

from __future__ import annotations

from typing import Any

import pytest

from modelforge.planner.advice import LESS_MEMORY, list_usual_changes
from modelforge.recipe import Recipe
from modelforge.runs.failures import explain_failure


def test_usual_changes_are_one_step_of_each_and_keep_what_is_trained() -> None:
    recipe = Recipe(per_device_train_batch_size=8, gradient_accumulation_steps=2, max_length=512)
    changes = list_usual_changes(recipe)
    assert [settings for settings, _ in changes] == [
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4},
        {"gradient_checkpointing": "on"},
        {"max_length": 256},
    ]
    assert all(sentence.endswith(".") for _, sentence in changes)
    assert all(recipe.with_settings(settings) != recipe for settings, _ in changes)


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"per_device_train_batch_size": 1}, ["gradient_checkpointing", "max_length"]),
        ({"per_device_train_batch_size": 1, "gradient_checkpointing": "on"}, ["max_length"]),
        ({"per_device_train_batch_size": 1, "gradient_checkpointing": "on", "max_length": 255}, []),
    ],
)
def test_nothing_is_left_where_all_is_small(settings: dict[str, Any], left: list[str]) -> None:
    found = list_usual_changes(Recipe().with_settings({"max_length": 512, **settings}))
    assert [next(iter(each)) for each, _ in found] == left


def test_odd_batch_loses_no_examples() -> None:
    (halved, _), *_ = list_usual_changes(Recipe(per_device_train_batch_size=3))
    assert halved == {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 3}


def test_run_out_of_memory_gets_the_same_advice() -> None:
    assert explain_failure(MemoryError())["fix"] == LESS_MEMORY
