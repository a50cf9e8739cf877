"""The command that shows what a recipe needs on this machine, before anything is downloaded or trained."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from modelforge.cli.terminal import add_command, add_recipe, answer, read_recipe
from modelforge.recipe import Recipe

if TYPE_CHECKING:
    from modelforge.planner.estimate import Plan


def add_commands(commands: Any) -> None:
    plan = add_command(commands, "plan", "show what a recipe needs on this machine and whether it fits", plan_recipe)
    add_recipe(plan)


def plan_recipe(arguments: argparse.Namespace) -> None:
    """A recipe that does not fit is a result, not an error."""
    from modelforge.planner.plan import plan

    recipe = read_recipe(arguments)
    found = plan(recipe, **look_at_rows(recipe), calibrate=True)
    answer(arguments, found.as_json(), describe(found))


def look_at_rows(recipe: Recipe) -> dict[str, Any]:
    """rows, mean_tokens and longest of a local dataset; {} for others, whose time is not estimated."""
    from modelforge import paths
    from modelforge.data.checks import check
    from modelforge.data.lengths import longest_row, mean_row
    from modelforge.data.samples import samples

    sample = next((each for each in samples() if each.name == recipe.dataset), None)
    file = sample.path if sample else paths.existing(recipe.dataset) if recipe.dataset else None
    if file is None or not file.is_file():
        return {}
    rows = check(file, recipe.task, dict(recipe.columns)).mapped_rows
    return {"rows": len(rows), "mean_tokens": mean_row(rows.size, len(rows)), "longest": longest_row(rows)}


def describe(found: Plan) -> str:
    """The plan as text."""
    from modelforge.hardware import describe_bytes

    lines = [found.sentence]
    if found.memory:
        parts = ("weights", "gradients", "optimizer", "activations", "runtime")
        lines += [f"  {part:12} {describe_bytes(getattr(found.memory, part))}" for part in parts]
    lines += [f"disk: {describe_bytes(found.disk.needed)} needed, {describe_bytes(found.disk.free)} free"]
    if found.seconds:
        lines += [f"time: {found.time}, training at {found.tokens_per_second:.0f} tokens a second"]
    lines += [f"- {reason}" for reason in (found.compute.reasons if found.compute else ())]
    lines += [f"To make it fit: {each.sentence}" for each in found.advice]
    return "\n".join(lines)
