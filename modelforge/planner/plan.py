"""The plan of a recipe, with advice that was computed to fit; which recipes are refused; outcomes of runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from operator import attrgetter

from modelforge.errors import DiskFullError, MemoryFullError, RecipeError
from modelforge.hardware import Hardware, Probe, Tier, describe_bytes
from modelforge.planner import outcomes
from modelforge.planner.advice import advise
from modelforge.planner.estimate import Calibrate, Machine, Plan, Rows, estimate
from modelforge.recipe import Recipe

LIMITS: Mapping[Tier, Mapping[str, int]] = {
    "low": {"per_device_train_batch_size": 64, "max_length": 8192, "tuning.r": 128, "grpo.num_generations": 16},
    "mid": {"per_device_train_batch_size": 256, "max_length": 32_768, "tuning.r": 256, "grpo.num_generations": 32},
    "high": {"per_device_train_batch_size": 1024, "max_length": 131_072, "tuning.r": 512, "grpo.num_generations": 64},
}
"""Tier -> setting -> the largest value, included. They catch mistakes; whether a run fits is computed by `estimate`."""


def plan(
    recipe: Recipe,
    *,
    rows: int | None = None,
    longest: int | None = None,
    mean_tokens: float | None = None,
    calibrate: bool = False,
    machine: Hardware | None = None,
    probe: Probe | None = None,
) -> Plan:
    """What a recipe needs on this machine, computed in this process: it simulates a step, which takes seconds.

    rows, longest, mean_tokens: of the dataset, where they are known. calibrate: also run micro-steps, unless they are
    cached. machine, probe: to plan for another machine. Raises RecipeError for what cannot be trained there at all.
    """
    wanted: Calibrate = "all" if calibrate else "nothing"
    return plan_for(recipe, Machine.here(machine, probe), Rows(rows, longest, mean_tokens), calibrate=wanted)


def plan_for(
    recipe: Recipe, machine: Machine, rows: Rows, *, calibrate: Calibrate = "nothing", with_advice: bool = True
) -> Plan:
    """`plan` for a given machine and process."""
    check_limits(recipe, machine.hardware)
    made = estimate(recipe, machine, rows, calibrate=calibrate)
    if with_advice and made.verdict in ("tight", "won't fit"):
        made = replace(made, advice=advise(made, machine, rows))
    return made


def check_limits(recipe: Recipe, hardware: Hardware) -> None:
    """Refuse a setting above the limit of this tier. Raises RecipeError with the setting, its value and the limit."""
    for name, bound in LIMITS[hardware.tier].items():
        value = attrgetter(name)(recipe)
        if value > bound:
            raise RecipeError(
                f"{value} is too large for this machine (tier {hardware.tier}).",
                where=f"setting {name}",
                fix=f"It must be at most {bound} here. Use {bound}.",
            )


def refuse(made: Plan) -> None:
    """Raises DiskFullError or MemoryFullError for a plan that does not fit."""
    if not made.disk.fits:
        raise DiskFullError(needed=made.disk.needed, free=made.disk.free, where=made.disk.where)
    if made.verdict == "won't fit" and made.memory:
        raise MemoryFullError(
            f"This run needs about {describe_bytes(made.memory.total)} of memory, but only "
            f"{describe_bytes(made.memory.available)} are available.",
            where="recipe",
            fix=made.advice[0].sentence if made.advice else "Choose a smaller base model or a larger machine.",
        )


def record_outcome(made: Plan, *, measured_bytes: int, tokens_per_second: float) -> float:
    """Record a run's peak memory and speed for the next prediction. Returns how far this prediction was off: 0.1 if it
    was 10% too high."""
    if not made.memory or not made.compute or measured_bytes <= 0:
        return 0.0
    if made.compute.device != "cpu":
        measured_bytes += made.memory.runtime  # an accelerator's counter covers only tensors
    predicted = round(made.memory.total / made.correction)
    recipe = made.recipe
    outcome = outcomes.Outcome(
        predicted,
        measured_bytes,
        tokens_per_second,
        recipe.base_model,
        made.mean_tokens,
        recipe.per_device_train_batch_size,
    )
    outcomes.add_outcome(made.kind, outcome)
    return made.memory.total / measured_bytes - 1
