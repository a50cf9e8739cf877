"""Recipes that another version wrote are read, and what could not be kept is listed."""

from __future__ import annotations

from typing import Any

import pytest

from modelforge.errors import RecipeError
from modelforge.recipe import RECIPE_VERSION, Recipe, read_stored, stored


def test_recipe_of_this_version_is_read_as_it_was_written() -> None:
    recipe = Recipe().with_settings({"seed": 3, "tuning.r": 8, "columns": {"prompt": "q"}, "repairs": ["strip"]})
    read = read_stored(recipe.model_dump(mode="json"), RECIPE_VERSION)
    assert read.recipe == recipe
    assert read.changed == {} and read.notes == []


@pytest.mark.parametrize(
    ("recorded", "name", "value"),
    [
        ({"unknown": 1}, "unknown", None),
        ({"lora_alpha": 8}, "lora_alpha", None),  # only what a user writes is translated
        ({"tuning": {"unknown": 1}}, "tuning.unknown", None),
        ({"seed": -4}, "seed", 0),
        ({"max_length": 10**9}, "max_length", 131_072),
        ({"tuning": {"r": 4096}}, "tuning.r", 512),
        ({"learning_rate": 0}, "learning_rate", 2e-4),
        ({"learning_rate": "fast"}, "learning_rate", 2e-4),
        ({"optim": "lion"}, "optim", "auto"),
        ({"columns": None}, "columns", {}),
        ({"dpo": 3}, "dpo", None),
        ({"repairs": ["strip", "unknown"]}, "repairs.1", None),
    ],
)
def test_fault_13_what_is_unknown_or_refused_is_replaced_and_listed(
    recorded: dict[str, Any], name: str, value: Any
) -> None:
    read = read_stored({"seed": 5, **recorded}, 1)
    assert list(read.changed) == [name]
    (note,) = read.notes
    assert note.startswith(f"The setting {name} ")
    if value is not None:
        top, _, inner = name.partition(".")
        found = getattr(read.recipe, top)
        assert (getattr(found, inner) if inner else found) == value
    if "seed" not in recorded:
        assert read.recipe.seed == 5


def test_fault_13_reward_that_is_not_known_leaves_the_others() -> None:
    rewards = [{"type": "length", "most": 5}, {"type": "taste"}, {"type": "avoids", "words": ["no"]}]
    read = read_stored({"method": "grpo", "grpo": {"rewards": rewards}}, 1)
    assert [reward.type for reward in read.recipe.grpo.rewards] == ["length", "avoids"]
    assert list(read.changed) == ["grpo.rewards.1"]


def test_fault_13_settings_that_no_longer_go_together_are_read() -> None:
    read = read_stored({"method": "grpo", "per_device_train_batch_size": 3}, 1)
    assert read.recipe.per_device_train_batch_size == 3 and not read.changed
    with pytest.raises(RecipeError):
        Recipe.build({"method": "grpo", "per_device_train_batch_size": 3})


@pytest.mark.parametrize("wrong", [{"task": "painting"}, {"method": "ppo"}, {"tuning": {"type": "ia3"}}, {"tuning": 1}])
def test_what_a_model_is_for_is_never_replaced(wrong: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        read_stored(wrong, 1)


def test_fault_13_renamed_setting_is_migrated_from_the_version_that_had_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(settings: dict[str, Any]) -> dict[str, Any]:
        if "random_seed" in settings:
            settings["seed"] = settings.pop("random_seed")
        return settings

    monkeypatch.setattr(stored, "MIGRATIONS", [lambda settings: settings, rename])
    recorded = {"random_seed": 9}
    assert read_stored(recorded, 1).recipe.seed == read_stored(recorded, 2).recipe.seed == 9
    assert list(read_stored(recorded, 3).changed) == ["random_seed"]  # version 3 has no such setting
    assert recorded == {"random_seed": 9}
