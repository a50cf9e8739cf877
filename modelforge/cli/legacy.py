"""The command that imports the models of an older ModelForge."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from modelforge.cli.terminal import add_command, answer, open_forge, watch_on_terminal


def add_commands(commands: Any) -> None:
    legacy = add_command(commands, "import-legacy", "import the models of an older ModelForge", import_legacy)
    legacy.add_argument("database", nargs="?", metavar="DB", help="its modelforge.sqlite (default: its usual place)")


def import_legacy(arguments: argparse.Namespace) -> None:
    done = open_forge().legacy.import_models(arguments.database, watch_on_terminal("importing"))
    shape = {
        "imported": done.imported,
        "skipped": done.skipped,
        "problems": [asdict(problem) for problem in done.problems],
    }
    lines = [f"Imported {done.imported}, skipped {done.skipped}."]
    for problem in done.problems:
        where = ", ".join(part for part in (problem.row, problem.name) if part)
        lines.append(f"{where}{': ' if where else ''}{problem.problem} {problem.fix}")
    answer(arguments, shape, "\n".join(lines))
