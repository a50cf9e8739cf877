"""The Recipe: everything that decides a run, defined once."""

from modelforge.recipe.nested import Tuning
from modelforge.recipe.proof import Proof, read_proof
from modelforge.recipe.recipe import (
    STARTER,
    STARTERS_BY_TASK,
    Recipe,
    fields,
    parse_assignments,
)
from modelforge.recipe.settings import bounds, describe_bounds
from modelforge.recipe.stored import RECIPE_VERSION, read_stored
from modelforge.recipe.task import TASK_ALIASES, Task, parse_task

__all__ = [
    "RECIPE_VERSION",
    "STARTER",
    "STARTERS_BY_TASK",
    "TASK_ALIASES",
    "Proof",
    "Recipe",
    "Task",
    "Tuning",
    "bounds",
    "describe_bounds",
    "fields",
    "parse_assignments",
    "parse_task",
    "read_proof",
    "read_stored",
]
