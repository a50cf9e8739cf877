"""One recipe with several values of one or two settings: a recipe for each combination of values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from modelforge.errors import RecipeError
from modelforge.recipe import Recipe, parse_assignments

MOST_SETTINGS, MOST_RUNS = 2, 50


def read_values(listed: Iterable[tuple[str, str]]) -> dict[str, list[Any]]:
    """``[("tuning.r", "8, 16")]`` -> ``{"tuning.r": [8, 16]}``, each value read as YAML. Raises RecipeError for what is
    not a value, and for a setting that is given twice."""
    found: dict[str, list[Any]] = {}
    for name, values in ((name.strip(), values) for name, values in listed):
        if name in found:
            raise RecipeError(f"{name} is given twice.", where="sweep", fix="List all its values together.")
        given = [value for value in values.split(",") if value.strip()]
        found[name] = [parse_assignments([f"{name}={value}"])[name] for value in given]
    return found


def vary(recipe: Recipe, values: Mapping[str, Sequence[Any]]) -> list[Recipe]:
    """A recipe for every combination, named by its values. Raises RecipeError for a value that is out of bounds,
    for more than two settings and for more than 50 runs."""
    if not 0 < len(values) <= MOST_SETTINGS or not all(values.values()):
        raise RecipeError(
            f"A sweep varies one or two settings, not {len(values)}.",
            where="sweep",
            fix="Give one or two, each with its values, for example learning_rate=1e-4,2e-4.",
        )
    chosen = [dict(zip(values, combination, strict=True)) for combination in product(*values.values())]
    if len(chosen) > MOST_RUNS:
        raise RecipeError(
            f"This sweep has {len(chosen)} runs; the limit is {MOST_RUNS}.", where="sweep", fix="Give fewer values."
        )
    return [recipe.with_settings({**settings, "name": _name(recipe, settings)}) for settings in chosen]


def _name(recipe: Recipe, settings: Mapping[str, Any]) -> str:
    varied = ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in settings.items())
    return f"{recipe.name or 'Sweep'}: {varied}"[:120]
