"""Validation errors of a recipe, as one readable sentence."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from modelforge.errors import RecipeError
from modelforge.recipe.foreign_names import INSTEAD_OF_VALUES, find_instead
from modelforge.recipe.settings import describe_bounds

_VALUE_ERROR = "Value error, "


def explain(error: ValidationError, known: Mapping[str, FieldInfo]) -> RecipeError:
    """The first problem as one sentence; the others are counted. known: every setting by its full name."""
    problems = list_problems(error)
    first = problems[0]
    # Positions in a list are left out of the name.
    name = ".".join(part for part in first["loc"] if isinstance(part, str))
    more = f" ({len(problems) - 1} more settings are wrong.)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        return RecipeError(f"There is no setting {name!r}.{more}", where="recipe", fix=find_nearest(name, known))
    value = first["input"]
    where = f"setting {name}"
    if first["type"] == "literal_error":
        accepted = f"Accepted are: {first['ctx']['expected']}."
        fix = INSTEAD_OF_VALUES.get(name, {}).get(str(value).lower(), accepted)
        return RecipeError(f"{value!r} is not a valid choice.{more}", where=where, fix=fix)
    if first["type"] == "union_tag_invalid":
        fix = f"Accepted are: {first['ctx']['expected_tags']}."
        return RecipeError(f"{first['ctx']['tag']!r} is not a reward.{more}", where=where, fix=fix)
    info = known.get(name)
    limits = describe_bounds(info) if info else ""
    if limits and first["type"].startswith(("greater_than", "less_than")):
        return RecipeError(f"{value!r} is out of bounds.{more}", where=where, fix=f"It must be {limits}.")
    fix = f"It must be {limits}." if limits else (info.description or "") if info else ""
    message = first["msg"].removeprefix(_VALUE_ERROR)
    if not name:  # several settings that do not go together
        return RecipeError(f"{message[:1].upper()}{message[1:]}.{more}", where="recipe", fix="Change one of them.")
    return RecipeError(
        f"{_shorten(value)} cannot be used: {message[:1].lower()}{message[1:]}.{more}", where=where, fix=fix
    )


def list_problems(error: ValidationError) -> list[ErrorDetails]:
    """What is wrong, without the defaults that could not be derived from it."""
    return [each for each in error.errors(include_url=False) if each["type"] != "default_factory_not_called"]


def find_nearest(name: str, known: Mapping[str, FieldInfo]) -> str:
    """The setting that was probably meant, or all there are."""
    if instead := find_instead(name):
        return instead
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {close[0]}?" if close else f"Settings are: {', '.join(known)}."


def _shorten(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 200 else f"{shown[:200]}…"
