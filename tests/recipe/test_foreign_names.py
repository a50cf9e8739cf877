"""Names pasted from TRL, transformers and PEFT are accepted or answered, in a file, with --set and in Python alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelforge.errors import RecipeError
from modelforge.recipe import Recipe, Tuning, fields, parse_assignments
from modelforge.recipe.foreign_names import INSTEAD, INSTEAD_OF_VALUES, NO_EFFECT, SAME, SAME_VALUES

VALUES: dict[str, Any] = {
    "tuning.r": 8,
    "tuning.lora_alpha": 64,
    "tuning.lora_dropout": 0.2,
    "tuning.target_modules": "q_proj,v_proj",
    "tuning.use_rslora": True,
    "tuning.use_dora": True,
    "tuning.type": "qlora",
    "base_model": "some/model",
    "dataset": "rows.csv",
    "dataset_config": "one",
    "dataset_split": "test",
    "eval_dataset": "more.csv",
    "max_length": 64,
    "num_train_epochs": 2.0,
    "learning_rate": 0.01,
    "lr_scheduler_type": "cosine",
    "optim": "adafactor",
    "per_device_train_batch_size": 2,
    "dtype": "float32",
    "gradient_checkpointing": "on",
    "grpo.num_generations": 2,
    "grpo.max_completion_length": 16,
    "grpo.temperature": 0.5,
    "dpo.label_smoothing": 0.1,
    "kto.desirable_weight": 1.5,
    "kto.undesirable_weight": 1.33,
}
"""A value other than the default of each setting that has another name elsewhere."""

WAYS: dict[str, Callable[[Mapping[str, Any], Path], Recipe]] = {}


def way(read: Callable[[Mapping[str, Any], Path], Recipe]) -> Callable[[Mapping[str, Any], Path], Recipe]:
    WAYS[read.__name__] = read
    return read


@way
def in_a_file(settings: Mapping[str, Any], folder: Path) -> Recipe:
    (folder / "recipe.yaml").write_text(yaml.safe_dump(dict(settings)))
    return Recipe.from_file(folder / "recipe.yaml")


@way
def with_set(settings: Mapping[str, Any], folder: Path) -> Recipe:
    return Recipe().with_settings(
        parse_assignments(f"{name}={yaml.safe_dump(value)}" for name, value in settings.items())
    )


@way
def in_python(settings: Mapping[str, Any], folder: Path) -> Recipe:
    return Recipe(**settings)


@pytest.fixture
def read(tmp_path: Path) -> Callable[[Mapping[str, Any]], Recipe]:
    """read(settings) -> the recipe, the same whichever way they are given; or the same RecipeError."""

    def read_in_every_way(settings: Mapping[str, Any]) -> Recipe:
        told: dict[str, Recipe | RecipeError] = {}
        for name, way in WAYS.items():
            try:
                told[name] = way(settings, tmp_path)
            except RecipeError as error:
                told[name] = error
        first, *others = told.values()
        if isinstance(first, RecipeError):
            assert {getattr(other, "fix", other) for other in others} == {first.fix}, told
            raise first
        assert others == [first] * len(others), told
        return first

    return read_in_every_way


def value_of(recipe: Recipe, name: str) -> Any:
    values: Any = recipe.model_dump(mode="json")
    for part in name.split("."):
        values = values[part]
    return values


def named_in(sentence: str) -> set[str]:
    """The settings that a sentence names."""
    return set(re.findall(r"[\w.]*\w", sentence)) & fields().keys()


def refused(make: Callable[[], Recipe]) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        make()
    return caught.value


@pytest.mark.parametrize(("name", "setting"), SAME.items(), ids=list(SAME))
def test_fault_18_name_of_the_same_meaning_is_accepted(read: Any, name: str, setting: str) -> None:
    assert value_of(read({name: VALUES[setting]}), setting) == VALUES[setting]


@pytest.mark.parametrize("name", INSTEAD)
def test_fault_18_name_of_no_meaning_here_is_answered_with_what_to_write(read: Any, name: str) -> None:
    error = refused(lambda: read({name: "something"}))
    assert repr(name) in error.what
    assert error.fix == INSTEAD[name]
    assert named_in(error.fix), "the sentence names a setting"


@pytest.mark.parametrize(
    ("name", "value", "setting", "meant"),
    [
        (name, value, *found)
        for name, values in SAME_VALUES.items()
        for value, decided in values.items()
        for found in decided.items()
    ],
)
def test_fault_18_switch_of_the_same_meaning_is_accepted(
    read: Any, name: str, value: str, setting: str, meant: list[str]
) -> None:
    assert value_of(read({name: yaml.safe_load(value)}), setting) == meant[0]
    assert all(value_of(read({name: value, setting: each}), setting) == each for each in meant if "." not in setting)
    assert name in INSTEAD  # for other values


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in NO_EFFECT.items() for value in values])
def test_fault_18_what_is_done_here_anyway_is_accepted(read: Any, name: str, value: str) -> None:
    assert read({name: yaml.safe_load(value)}) == Recipe()
    assert name in INSTEAD


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in INSTEAD_OF_VALUES.items() for value in values]
)
def test_fault_18_value_of_another_program_is_answered(read: Any, name: str, value: str) -> None:
    error = refused(lambda: read({name: value}))
    assert error.fix == INSTEAD_OF_VALUES[name][value]
    assert named_in(error.fix)


@pytest.mark.parametrize(
    "settings",
    [
        {"lora_alpha": 8, "tuning": {"lora_alpha": 16}},
        {"lora_alpha": 8, "tuning.lora_alpha": 16},
        {"lora_r": 8, "r": 16},
        {"max_seq_length": 64, "max_length": 128},
        {"bf16": True, "fp16": True},
        {"bf16": True, "dtype": "float32"},
        {"use_peft": False, "load_in_4bit": True},
    ],
    ids=str,
)
def test_fault_18_names_that_contradict_each_other_are_refused(read: Any, settings: dict[str, Any]) -> None:
    error = refused(lambda: read(settings))
    assert "contradicts" in error.what and named_in(error.fix)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"bf16": True, "fp16": False}, {"dtype": "bfloat16"}),
        ({"bf16": False, "fp16": False}, {"dtype": "float32"}),
        ({"use_peft": True, "load_in_4bit": True, "lora_r": 8}, {"tuning": {"type": "qlora", "r": 8}}),
        ({"lora_alpha": 64, "tuning": {"r": 8}}, {"tuning": {"lora_alpha": 64, "r": 8}}),
        ({"tuning.r": 8}, {"tuning": {"r": 8}}),
        ({"gradient_checkpointing": True}, {"gradient_checkpointing": "on"}),
        ({"learning_rate": 1e-3}, {"learning_rate": 1e-3}),
    ],
    ids=str,
)
def test_fault_18_names_are_read_together(read: Any, settings: dict[str, Any], expected: dict[str, Any]) -> None:
    assert read(settings) == Recipe.build(expected)


def test_names_set_on_the_command_line_replace_those_of_the_file() -> None:
    recipe = Recipe.build({"lora_alpha": 64, "tuning": {"r": 8}})
    changed = recipe.with_settings({"lora_alpha": 32})
    assert (changed.tuning.lora_alpha, changed.tuning.r) == (32, 8)


def test_settings_that_are_given_are_not_changed() -> None:
    given = {"lora_alpha": 64, "tuning": {"r": 8}}
    Recipe.build(given)
    assert given == {"lora_alpha": 64, "tuning": {"r": 8}}
    tuning = Tuning(r=8)
    assert Recipe(tuning=tuning, lora_alpha=64).tuning == Tuning(r=8, lora_alpha=64)  # type: ignore[call-arg]
    assert tuning == Tuning(r=8)


def test_name_inside_another_is_answered_too() -> None:
    assert refused(lambda: Recipe.build({"tuning": {"lora_r": 8}})).fix == "Write tuning.r."


def test_no_name_here_is_one_of_ours() -> None:
    assert not (SAME.keys() | INSTEAD.keys() | SAME_VALUES.keys()) & (Recipe.model_fields.keys() | fields().keys())
    assert set(SAME.values()) == VALUES.keys() <= fields().keys()
