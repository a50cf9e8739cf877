"""The command that tries a base model before a first run, and says whether training is needed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from modelforge.cli.terminal import (
    add_command,
    add_recipe,
    answer,
    open_forge,
    read_recipe,
    say,
    table,
    watch_on_terminal,
)

if TYPE_CHECKING:
    from modelforge.models.baseline import Baseline


def add_commands(commands: Any) -> None:
    baseline = add_command(commands, "baseline", try_base)
    add_recipe(baseline)
    baseline.add_argument("--limit", type=int, metavar="N", help="use at most N rows, evenly spaced (default 40)")


def try_base(arguments: argparse.Namespace) -> None:
    recipe = read_recipe(arguments)
    runs = open_forge().runs
    if time := runs.predict_base(recipe, limit=arguments.limit):
        say(f"Trying the base model on the held-out rows. This takes {time}.")
    found = runs.try_base(recipe, limit=arguments.limit, watch=watch_on_terminal("trying"))
    answer(arguments, found.as_json(), write_baseline(found))


def write_baseline(found: Baseline) -> str:
    """As text: both ways side by side, and the recommendation."""
    few = found.few_shot
    rows = [
        {
            "metric": name,
            "as it is": f"{value:.4g}",
            f"with {len(found.examples)} examples": f"{few[name]:.4g}" if name in few else None,
        }
        for name, value in found.zero_shot.items()
    ]
    columns = ("metric", "as it is", *((f"with {len(found.examples)} examples",) if few else ()))
    counted = "1 held-out row" if found.rows == 1 else f"{found.rows} held-out rows"
    lines = [table(rows, columns), counted, f"{found.advice.word}: {found.advice.why}"]
    return "\n".join([*lines, *found.measured.notes])
