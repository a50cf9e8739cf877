"""What every command needs: its declaration, its output as JSON or text, and the Forge. It has no command itself."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelforge.recipe import Recipe, parse_assignments

if TYPE_CHECKING:
    from modelforge.forge import Forge

Command = Callable[[argparse.Namespace], int | None]
"""Runs a command. Returns the exit code, None for 0."""


def add_command(where: Any, name: str, help: str, command: Command) -> Any:
    """Add a command to a group of commands. Its parsed arguments hold the function to call as `command` and the parser,
    for errors of usage, as `parser`."""
    made = where.add_parser(name, help=help, description=help)
    made.set_defaults(command=command, parser=made)
    made.add_argument("--json", action="store_true", help="print JSON only on stdout")
    return made


def add_recipe(command: Any) -> None:
    """The arguments that `read_recipe` reads."""
    command.add_argument("recipe", metavar="RECIPE", help="a YAML file")
    command.add_argument(
        "--set", action="append", default=[], metavar="K=V", help="change a setting, for example tuning.r=8"
    )


def read_recipe(arguments: argparse.Namespace) -> Recipe:
    return Recipe.from_file(Path(arguments.recipe)).with_settings(parse_assignments(arguments.set))


def add_group(where: Any, name: str, help: str) -> Any:
    """Add a command that is a group of commands."""
    return where.add_parser(name, help=help).add_subparsers(metavar="COMMAND", required=True)


def open_forge() -> Forge:
    """The Forge of this process. Prints the message of its store, if any."""
    from modelforge.forge import shared_forge

    forge = shared_forge()
    if forge.store.message:
        say(forge.store.message)
    return forge


def answer(arguments: argparse.Namespace, shape: Any, text: str | None = None) -> None:
    """Print a result, as JSON with --json, else as text; as JSON also where there is no other text."""
    if arguments.json or text is None:
        print_json(shape, indent=2)
    else:
        print(text)


def print_json(shape: Any, *, indent: int | None = None) -> None:
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    print(json.dumps(shape, ensure_ascii=not unicode, indent=indent), flush=True)


def table(rows: Sequence[dict[str, Any]], columns: tuple[str, ...]) -> str:
    """Rows as aligned text."""
    cells = [columns, *(tuple(str(row[name] if row[name] is not None else "-") for name in columns) for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def watch_on_terminal(doing: str) -> Callable[[float], None] | None:
    """Prints progress (from 0 to 1) on a terminal; None where stderr is not one."""
    if not sys.stderr.isatty():
        return None
    # Each line overwrites the one before.
    return lambda share: print(f"\r{doing}: {share:4.0%}\r", end="", file=sys.stderr, flush=True)
