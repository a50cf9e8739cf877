"""A sweep is as many runs as there are combinations, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelforge import Forge
from modelforge.errors import RecipeError
from modelforge.recipe import Recipe
from modelforge.runs.sweep import read_values, vary
from modelforge.store import RunState
from tests import tiny


def test_every_combination_is_a_recipe_of_its_own_that_says_what_it_varies() -> None:
    made = vary(Recipe(name="Try"), {"learning_rate": [1e-4, 1e-3], "tuning.r": [4, 8]})
    assert [(each.learning_rate, each.tuning.r) for each in made] == [(1e-4, 4), (1e-4, 8), (1e-3, 4), (1e-3, 8)]
    assert made[1].name == "Try: learning_rate 0.0001, r 8"
    assert len({each.name for each in made}) == 4


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({}, "one or two"),
        ({"seed": []}, "one or two"),
        ({"seed": [1], "max_steps": [1], "tuning.r": [1]}, "one or two"),
        ({"seed": list(range(51))}, "51 runs"),
        ({"learning_rate": [1e-4, 5]}, "out of bounds"),
        ({"learning_rat": [1]}, "no setting"),
    ],
)
def test_sweep_that_makes_no_sense_is_refused(values: dict[str, list[float]], word: str) -> None:
    with pytest.raises(RecipeError, match=word) as caught:
        vary(Recipe(), values)
    assert caught.value.fix


def test_values_are_read_as_yaml_and_a_setting_is_named_once() -> None:
    assert read_values([("learning_rate", "0.0001, 0.0003,"), (" tuning.r", "8")]) == {
        "learning_rate": [0.0001, 0.0003],
        "tuning.r": [8],
    }
    with pytest.raises(RecipeError, match="twice"):
        read_values([("seed", "1"), ("seed", "2")])
    with pytest.raises(RecipeError, match="not a value"):
        read_values([("seed", "1, [")])


def test_sweep_is_queued_whole_or_not_at_all(probed: Path, base: Path, tmp_path: Path) -> None:
    forge = Forge()
    recipe = tiny.recipe(base, tiny.write_rows(tmp_path / "rows.jsonl"), max_steps=1, eval_split=0)
    runs = forge.runs.start_sweep(recipe, {"seed": [1, 2]})
    assert [run.wait(60) for run in runs] == [RunState.finished] * 2
    assert {forge.models[run.model_id].record.name for run in runs} == {"Sweep: seed 1", "Sweep: seed 2"}
    with pytest.raises(RecipeError):
        forge.runs.start_sweep(recipe, {"per_device_train_batch_size": [2, 1024]})
    assert len(forge.runs.all()) == 2
