"""From a goal, the size of a dataset and what is trained how to settings."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from modelforge import Forge, paths
from modelforge.architecture import ARCHITECTURES
from modelforge.goals import SIZES, demo_recipe, goals
from modelforge.hardware import GIB, Device, Hardware
from modelforge.recipe import STARTER, Recipe, Task, fields
from modelforge.tasks import TASKS

TUNINGS = ("lora", "qlora", "full")
CASES = [(task, method, tuning) for task in Task for method in TASKS[task].methods for tuning in TUNINGS]
AXES: dict[str, set[str]] = {
    "goal": {"quick", "balanced", "best"},
    "task": {task.value for task in Task},
    "method": {"sft", "dpo", "kto", "grpo"},
    "tuning": set(TUNINGS),
    "architecture": set(ARCHITECTURES),
    "size": {*SIZES, "large"},
    "tier": {"low", "mid", "high"},
}


def machine(tier: str) -> Hardware:
    memory = {"low": 4, "mid": 16, "high": 80}[tier] * GIB
    made = Hardware((Device("cuda", "x", memory, memory),), "Linux", 4, 16 * GIB, 8 * GIB, 100 * GIB, 50 * GIB)
    assert made.tier == tier
    return made


def build(settings: dict[str, Any], task: Task, method: str, tuning: str) -> Recipe:
    started = {"task": task.value, "method": method, "tuning": {"type": tuning}}
    rewards = {"grpo": {"rewards": [{"type": "length"}]}} if method == "grpo" else {}
    return Recipe.build(started | rewards).with_settings(settings)


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


@pytest.mark.parametrize("tier", ["low", "mid", "high"])
@pytest.mark.parametrize(("task", "method", "tuning"), CASES)
def test_audit_03_every_proposal_is_a_valid_recipe_and_every_number_of_it_is_in_it(
    task: Task, method: str, tuning: str, tier: str
) -> None:
    sizes = (0, 10**7, 10**8, 10**9, 10**10)
    for goal, architecture, parameters in product(goals().values(), TASKS[task].architectures, sizes):
        proposed = goal.propose(
            60,
            task=task,
            method=method,
            tuning=tuning,
            architecture=architecture,
            parameters=parameters,
            hardware=machine(tier),
        )
        recipe = build(proposed, task, method, tuning)
        for name, value in proposed.items():
            found: Any = recipe
            for part in name.split("."):
                found = getattr(found, part)
            assert found == value, name
        assert "learning_rate" in proposed, "each case has a rule of its own for it"
        assert (recipe.max_steps > 0) == ("num_train_epochs" not in proposed)


@pytest.mark.parametrize(("task", "method", "tuning"), CASES)
def test_better_goals_are_not_quicker(task: Task, method: str, tuning: str) -> None:
    proposed = [goal.propose(60, task=task, method=method, tuning=tuning) for goal in goals().values()]
    work = [each.get("max_steps") or each["num_train_epochs"] for each in proposed]
    assert work == sorted(work)


@pytest.mark.parametrize(
    ("case", "least", "most"),
    [
        ((Task.TEXT_GENERATION, "sft", "lora", "decoder"), 2e-4, 1e-3),
        ((Task.TEXT_GENERATION, "sft", "qlora", "decoder"), 2e-4, 1e-3),
        ((Task.TEXT_GENERATION, "sft", "full", "decoder"), 2e-5, 5e-5),
        ((Task.SUMMARIZATION, "sft", "lora", "encoder-decoder"), 5e-4, 1e-3),
        ((Task.SUMMARIZATION, "sft", "full", "encoder-decoder"), 1e-4, 3e-4),
        ((Task.EXTRACTIVE_QUESTION_ANSWERING, "sft", "full", "encoder"), 5e-5, 1e-4),
        ((Task.EXTRACTIVE_QUESTION_ANSWERING, "sft", "lora", "encoder"), 2e-3, 2e-3),
        ((Task.TEXT_GENERATION, "dpo", "lora", "decoder"), 5e-5, 5e-5),
        ((Task.TEXT_GENERATION, "dpo", "full", "decoder"), 5e-6, 5e-6),
        ((Task.TEXT_GENERATION, "grpo", "lora", "decoder"), 1e-4, 1e-4),
        ((Task.TEXT_GENERATION, "grpo", "full", "decoder"), 5e-6, 5e-6),
    ],
)
def test_learning_rate_is_one_that_suits_what_is_trained(
    case: tuple[Task, str, str, str], least: float, most: float
) -> None:
    task, method, tuning, architecture = case
    for goal in goals().values():
        proposed = goal.propose(100, task=task, method=method, tuning=tuning, architecture=architecture)
        assert least <= proposed["learning_rate"] <= most


@pytest.mark.parametrize(("task", "method", "tuning"), CASES)
def test_larger_models_take_no_larger_steps(task: Task, method: str, tuning: str) -> None:
    for goal, architecture in product(goals().values(), TASKS[task].architectures):
        rates = [
            goal.propose(60, task=task, method=method, tuning=tuning, architecture=architecture, parameters=parameters)[
                "learning_rate"
            ]
            for parameters in (2 * 10**7, 2 * 10**8, 10**9, 8 * 10**9)
        ]
        assert rates == sorted(rates, reverse=True)


def test_preferences_are_passed_three_times_at_most() -> None:
    for goal, rows in product(goals().values(), (1, 60, 5000)):
        proposed = goal.propose(rows, method="dpo")
        assert 1 <= proposed["num_train_epochs"] <= 3
        assert proposed["dpo.beta"] == 0.1


@pytest.mark.parametrize(("tier", "generations"), [("low", 4), ("mid", 8), ("high", 8)])
def test_rewards_compare_as_many_answers_as_the_machine_can_write(tier: str, generations: int) -> None:
    proposed = goals()["quick"].propose(60, method="grpo", hardware=machine(tier))
    assert proposed["grpo.num_generations"] == generations
    assert proposed["per_device_train_batch_size"] % generations == 0
    assert proposed["max_steps"] > 0


def test_full_tuning_is_proposed_nothing_about_an_adapter() -> None:
    for goal, (task, method, _) in product(goals().values(), CASES):
        assert not any(name.startswith("tuning.") for name in goal.propose(60, task=task, method=method, tuning="full"))


def test_larger_machines_take_larger_batches() -> None:
    sizes = [
        build(goals()["best"].propose(60, hardware=machine(tier)), Task.TEXT_GENERATION, "sft", "lora")
        for tier in ("low", "high")
    ]
    assert sizes[0].per_device_train_batch_size < sizes[1].per_device_train_batch_size


def test_rules_name_only_what_there_is() -> None:
    for rule in paths.read_asset("presets.yaml")["rules"]:
        for axis, wanted in rule["for"].items():
            assert {wanted} <= AXES[axis] if isinstance(wanted, str) else {*wanted} <= AXES[axis]
        assert set(rule["set"]) <= {*fields(), "rows_seen", "epochs"}


def test_demo_trains_the_starter_on_a_dataset_that_is_there() -> None:
    recipe = demo_recipe()
    assert recipe.base_model == STARTER
    record = Forge().datasets.resolve(recipe.dataset, recipe)
    assert record.rows == 60
