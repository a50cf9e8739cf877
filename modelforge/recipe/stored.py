"""Recipes in manifests and run records, written by any version of ModelForge, read by this one.

User input is validated strictly (`Recipe.build`). A stored recipe was valid when its run started: settings that are
unknown now are dropped and values that are not valid now are replaced, so that a change of a setting's name or bounds
never makes a model unusable.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from modelforge.recipe.messages import explain, list_problems
from modelforge.recipe.recipe import STORED, Recipe, fields
from modelforge.recipe.settings import bounds


def _hold_out_and_cut_as_before(settings: dict[str, Any]) -> dict[str, Any]:
    """Version 1 held out exactly the share, however few rows that was, and cut long texts off: its runs resume, and its
    models are measured, with the rows they were trained on."""
    return {"min_eval_rows": 0, "long_texts": "cut", **settings}


MIGRATIONS: list[Callable[[dict[str, Any]], dict[str, Any]]] = [_hold_out_and_cut_as_before]
"""The function at index n migrates settings of version n + 1 to version n + 2: a setting or a value with a new name. A
removed setting does not need one."""

RECIPE_VERSION = 1 + len(MIGRATIONS)
"""Version of the recipes written now. Manifests and records without a version have version 1."""

_NEVER_REPLACED = ("task", "base_model", "method", "tuning", "tuning.type")  # they decide what the model is


@dataclass(frozen=True)
class StoredRecipe:
    """changed: full name of a setting -> the recorded value that could not be kept."""

    recipe: Recipe
    changed: Mapping[str, Any]

    @property
    def notes(self) -> list[str]:
        """A sentence for each change."""
        return [
            f"The setting {name} = {value!r}, recorded by another version, is "
            + ("not valid: its default or the nearest valid value is used." if name in fields() else "ignored.")
            for name, value in self.changed.items()
        ]


def read_stored(settings: Mapping[str, Any], version: int) -> StoredRecipe:
    """The recipe that a manifest or a run record holds. Raises RecipeError only where the task, the base model, the
    method or the kind of tuning is not known to this version."""
    values = copy.deepcopy(dict(settings))
    for migrate in MIGRATIONS[version - 1 :]:
        values = migrate(values)
    changed: dict[str, Any] = {}
    while True:
        try:
            return StoredRecipe(Recipe.model_validate(values, context=STORED), changed)
        except ValidationError as error:
            # One at a time, the last first: removing an item moves those behind it.
            replaced = _replace(values, list_problems(error)[-1]["loc"])
            if replaced is None or replaced[0] in _NEVER_REPLACED:
                raise explain(error, fields()) from error
            changed = {replaced[0]: replaced[1], **changed}


def _replace(settings: dict[str, Any], place: Sequence[Any]) -> tuple[str, Any] | None:
    """Remove what pydantic found wrong, or bring a number within its bounds. Returns its full name and what was there;
    None where there is nothing at that place."""
    holder: Any = None
    value: Any = settings
    path: list[Any] = []
    for part in place:
        if isinstance(value, dict) and part not in value and part == value.get("type"):
            continue  # pydantic names the kind of reward between its index and its setting
        if not ((isinstance(value, dict) and part in value) or (isinstance(value, list) and isinstance(part, int))):
            break
        holder, value = value, value[part]
        path.append(part)
    if not path:
        return None
    name = ".".join(map(str, path))
    info = fields().get(name)
    limits = bounds(info) if info else {}
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and value < limits.get("ge", value):
        holder[path[-1]] = limits["ge"]
    elif is_number and value > limits.get("le", value):
        holder[path[-1]] = limits["le"]
    else:
        del holder[path[-1]]
    return name, value
