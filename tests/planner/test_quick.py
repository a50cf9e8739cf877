"""What training only the top layers saves, where it is offered, and that its runs and those at full depth are not
mistaken for each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelforge.compute.compute import Compute
from modelforge.hardware import GIB, Device, Hardware, Probe
from modelforge.planner.estimate import Machine, Plan, Rows, _judge
from modelforge.planner.memory import Memory
from modelforge.planner.outcomes import Outcome, add_outcome
from modelforge.planner.quick import MOST_STORED_BYTES, Work, at_full_depth, propose_quick
from modelforge.planner.sources import Known
from modelforge.recipe import Recipe
from tests import tiny

MACHINE = Machine(
    Hardware((Device("cpu", "a processor", 8 * GIB, 8 * GIB),), "Linux", 2, 8 * GIB, 8 * GIB, 99 * GIB, 99 * GIB),
    Probe("cpu", "a processor", None, 8 * GIB, {"float32": 200.0}, "2.13.0"),
    process_bytes=GIB,
    has_torch=True,
)
COMPUTE = Compute("cpu", "float32", False, ())
CONFIG = tiny.config(
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    vocab_size=49152,
)
RECIPE = Recipe(base_model="anna/small", num_train_epochs=5, learning_rate=2e-4)
WORK = Work(COMPUTE, CONFIG, rows=1000, row_tokens=200.0)
SLOW = 500.0


def judge(recipe: Recipe = RECIPE, *, rows: int = 1000, compute: Compute = COMPUTE, config: Any = CONFIG) -> Plan:
    need = Memory(weights=540_000_000, gradients=0, optimizer=0, activations=GIB, runtime=GIB, trained=10_000)
    return _judge(recipe, MACHINE, Rows(rows, 400, 200.0), Known(config, "config"), compute, need, SLOW)


def top(count: int, **settings: Any) -> Recipe:
    return RECIPE.with_settings({"tuning.top_layers": count, **settings})


def test_fewer_layers_take_less_of_a_step_and_what_is_not_stored_more() -> None:
    shares = [WORK.share_of_step(top(count)) for count in (0, 20, 10, 5)]
    assert shares == sorted(shares, reverse=True) and shares[0] == 1 == WORK.share_of_step(top(30))
    assert 0.3 < shares[2] < 0.5
    on_card = replace(WORK, compute=replace(COMPUTE, device="cuda"))
    assert shares[2] < on_card.share_of_step(top(10)) < 1
    assert WORK.share_of_storing(top(10)) > 0 == on_card.share_of_storing(top(10)) == WORK.share_of_storing(top(0))


@pytest.mark.parametrize(
    ("settings", "work"),
    [
        ({"num_train_epochs": 1}, {}),
        ({"max_steps": 100}, {}),
        ({"method": "dpo"}, {}),
        ({"task": "question-answering"}, {}),
        ({}, {"rows": MOST_STORED_BYTES // 10_000}),
        ({}, {"compute": replace(COMPUTE, device="cuda")}),
    ],
    ids=str,
)
def test_nothing_is_counted_as_stored_that_a_run_would_not_store(
    settings: dict[str, Any], work: dict[str, Any]
) -> None:
    assert WORK.is_stored(top(10))
    assert not replace(WORK, **work).is_stored(top(10, **settings))


def test_long_run_is_offered_a_third_of_the_layers_and_then_takes_that_long(home: Path) -> None:
    made = judge()
    assert made.quicker and made.quicker.settings == {"tuning.top_layers": 10, "learning_rate": 5e-4}
    assert made.quicker.seconds < 0.7 * made.seconds
    assert "top 10 of 30 layers" in made.quicker.sentence and "learns slightly less" in made.quicker.sentence
    again = judge(RECIPE.with_settings(made.quicker.settings))
    assert again.seconds == pytest.approx(made.quicker.seconds)
    assert again.quicker is None
    assert again.tokens_per_second > 2 * made.tokens_per_second
    assert made.as_json()["quicker"]["settings"] == made.quicker.settings


def test_higher_learning_rate_is_kept(home: Path) -> None:
    made = judge(RECIPE.with_settings({"learning_rate": 1e-3}))
    assert made.quicker and made.quicker.settings == {"tuning.top_layers": 10}


@pytest.mark.parametrize(
    "case",
    [
        {"rows": 20},
        {"recipe": RECIPE.with_settings({"num_train_epochs": 1})},
        {"recipe": RECIPE.with_settings({"tuning.type": "full"})},
        {"recipe": RECIPE.with_settings({"parent": "model-0123456789ab"})},
        {"recipe": RECIPE.with_settings({"method": "dpo"})},
        {"compute": replace(COMPUTE, device="cuda")},
        {"config": tiny.config(num_hidden_layers=8)},
    ],
    ids=lambda case: next(iter(case)),
)
def test_nothing_is_offered_where_it_does_not_pay_or_is_not_possible(home: Path, case: dict[str, Any]) -> None:
    assert judge(**case).quicker is None


def test_speed_of_quick_runs_predicts_quick_runs_alone(home: Path) -> None:
    quick, full = judge(top(10)), judge()
    assert quick.kind != full.kind
    add_outcome(quick.kind, Outcome(GIB, GIB, 4000.0, "anna/small", 200.0, 4))
    assert judge(top(10)).tokens_per_second == pytest.approx(4000)
    assert judge(top(10)).timing == "run"
    assert (judge().timing, judge().tokens_per_second) == ("step", 500)


def test_micro_steps_are_those_of_full_depth() -> None:
    assert at_full_depth(top(10)) == at_full_depth(RECIPE)
    assert propose_quick(top(4), WORK) is None  # somebody chose
