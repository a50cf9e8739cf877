"""From a goal and the size of a dataset to settings."""

from __future__ import annotations

import pytest

from modelforge import Forge
from modelforge.goals import demo_recipe, goals
from modelforge.recipe import STARTER, Recipe


def test_three_goals_from_quick_to_best() -> None:
    assert list(goals()) == ["quick", "balanced", "best"]
    assert all(goal.title and goal.sentence for goal in goals().values())


@pytest.mark.parametrize("rows", [0, 1, 10, 60, 1000, 1_000_000])
def test_passes_are_within_the_goals_bounds_and_better_goals_pass_more(rows: int) -> None:
    passes = []
    for goal in goals().values():
        proposed = Recipe().with_settings(goal.propose(rows))
        assert goal.epochs[0] <= proposed.num_train_epochs <= goal.epochs[1]
        passes.append(proposed.num_train_epochs)
    assert passes == sorted(passes)


def test_small_datasets_are_passed_more_often() -> None:
    quick = goals()["quick"]
    assert quick.propose(10)["num_train_epochs"] > quick.propose(400)["num_train_epochs"]


def test_demo_trains_the_starter_on_a_dataset_that_is_there() -> None:
    recipe = demo_recipe()
    assert recipe.base_model == STARTER
    record = Forge().datasets.resolve(recipe.dataset, recipe)
    assert record.rows == 60
