"""The verdict on what was counted: its bounds, what earlier runs correct, and what the speed rests on."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelforge.compute.compute import Compute
from modelforge.hardware import GIB, Device, Hardware, Probe
from modelforge.planner.estimate import TIGHT, Machine, Plan, Rows, _judge
from modelforge.planner.memory import Memory
from modelforge.planner.outcomes import Outcome, add_outcome
from modelforge.planner.sources import Known
from modelforge.recipe import Recipe
from tests import tiny

CARD = Device("cuda", "RTX 4060", 8 * GIB, 8 * GIB, (8, 9))
MACHINE = Machine(
    Hardware((CARD, Device("cpu", "a processor", GIB, GIB)), "Linux", 8, 16 * GIB, 8 * GIB, GIB, GIB),
    Probe("cuda", "RTX 4060", (8, 9), 8 * GIB, {"float32": 9e3, "bfloat16": 4e4}, "2.13.0"),
    process_bytes=GIB,
    has_torch=True,
)
COMPUTE = Compute("cuda", "bfloat16", False, (), weights="bfloat16")
RECIPE = Recipe(base_model="anna/tiny", max_steps=10)


def judge(total: int, rows: Rows | None = None, timed: float | None = None) -> Plan:
    need = Memory(weights=1_000_000, gradients=0, optimizer=0, activations=total - 1_000_000, runtime=0, trained=1000)
    return _judge(RECIPE, MACHINE, rows or Rows(), Known(tiny.config(), "config"), COMPUTE, need, timed)


@pytest.mark.parametrize(
    ("total", "verdict"),
    [
        (int(TIGHT * 8 * GIB), "fits"),
        (int(TIGHT * 8 * GIB) + 1, "tight"),
        (8 * GIB, "tight"),
        (8 * GIB + 1, "won't fit"),
    ],
)
def test_verdict_follows_from_the_share_of_memory(home: Path, total: int, verdict: str) -> None:
    made = judge(total)
    assert (made.verdict, made.fits) == (verdict, verdict != "won't fit" and made.disk.fits)
    assert made.memory and made.memory.available == 8 * GIB  # a card's: what the process holds is not on it


def test_earlier_runs_of_its_size_correct_the_memory(home: Path) -> None:
    first = judge(GIB)
    add_outcome(first.kind, Outcome(GIB, GIB * 3 // 2, 0.0, "anna/tiny"))
    assert judge(GIB).correction == 1.5 and judge(8 * GIB).correction == 1
    again = judge(6 * GIB // 2)
    assert again.memory and again.memory.total == pytest.approx(4.5 * GIB)
    assert (again.memory.weights, again.verdict) == (1_000_000, "fits")
    add_outcome(first.kind, Outcome(GIB, 90 * GIB, 0.0, "anna/tiny"))
    add_outcome(first.kind, Outcome(GIB, 90 * GIB, 0.0, "anna/tiny"))
    assert judge(GIB).correction == 2  # at most


def test_speed_is_that_of_an_earlier_run_else_of_steps_else_a_guess(home: Path) -> None:
    rows, step = Rows(100, 400, 50.0), 700.0
    guess = judge(GIB, rows)
    assert (guess.timing, guess.calibrated) == ("guess", False)
    timed = judge(GIB, rows, step)
    assert (timed.timing, timed.tokens_per_second, timed.calibrated) == ("step", 700.0, True)
    add_outcome(guess.kind, Outcome(GIB, GIB, 240.0, "anna/tiny", 400.0, 4))
    assert judge(GIB, rows, step).timing == "step"  # that run had long rows
    add_outcome(guess.kind, Outcome(GIB, GIB, 240.0, "anna/tiny", 50.0, 4))
    run = judge(GIB, rows, step)
    assert (run.timing, run.tokens_per_second, run.mean_tokens) == ("run", 240.0, 50.0)
    assert run.seconds_low < run.seconds < run.seconds_high
    assert set(run.as_json()) >= {"seconds", "seconds_low", "seconds_high"}
