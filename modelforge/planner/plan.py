"""The plan of a recipe, with advice whose application has been computed to fit; what is refused; what runs teach."""

from __future__ import annotations

from dataclasses import replace

from modelforge.errors import DiskFullError, MemoryFullError
from modelforge.hardware import Hardware, Probe, describe_bytes
from modelforge.planner import outcomes
from modelforge.planner.advice import advise
from modelforge.planner.estimate import Machine, Plan, Rows, estimate
from modelforge.planner.limits import check_limits
from modelforge.recipe import Recipe


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
    """What a recipe needs on this machine, in this process: it simulates a step, which takes seconds.

    rows, longest, mean_tokens: of the dataset, where they are known. calibrate: take micro-steps if none like these
    were taken before (seconds). machine, probe: another machine than this one. Raises RecipeError for what cannot be
    trained here at all.
    """
    return plan_for(recipe, Machine.here(machine, probe), Rows(rows, longest, mean_tokens), calibrate=calibrate)


def plan_for(
    recipe: Recipe, machine: Machine, rows: Rows, *, calibrate: bool = False, with_advice: bool = True
) -> Plan:
    """`plan` for a machine and a process that are described."""
    check_limits(recipe, machine.hardware)
    made = estimate(recipe, machine, rows, calibrate=calibrate)
    if with_advice and made.verdict in ("tight", "won't fit"):
        made = replace(made, advice=advise(made, machine, rows))
    return made


def refuse(made: Plan) -> None:
    """Raises DiskFullError or MemoryFullError for a plan that does not fit."""
    if not made.disk.fits:
        raise DiskFullError(needed=made.disk.needed, free=made.disk.free, where=made.disk.where)
    if made.verdict == "won't fit" and made.memory:
        raise MemoryFullError(
            f"This run needs about {describe_bytes(made.memory.total)} of memory, and "
            f"{describe_bytes(made.memory.available)} are available.",
            where="recipe",
            fix=made.advice[0].sentence if made.advice else "Choose a smaller base model, or a larger machine.",
        )


def record_outcome(made: Plan, *, measured_bytes: int, tokens_per_second: float) -> float:
    """Keep what a run took at its peak and how fast it was, for the next prediction. Returns by how much the prediction
    was off: 0.1 when 10% too high."""
    if not made.memory or not made.compute or measured_bytes <= 0:
        return 0.0
    if made.compute.device != "cpu":
        measured_bytes += made.memory.runtime  # an accelerator's counter sees tensors alone
    predicted = round(made.memory.total / made.correction)
    outcome = outcomes.Outcome(predicted, measured_bytes, tokens_per_second, made.recipe.base_model)
    outcomes.add_outcome(made.kind, outcome)
    return made.memory.total / measured_bytes - 1
