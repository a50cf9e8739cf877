"""What every command needs: its declaration, its output as JSON or text, and the Forge. It has no command itself."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelforge.cli.commands import HELP

if TYPE_CHECKING:
    from modelforge.forge import Forge
    from modelforge.recipe import Recipe
    from modelforge.runs.records import RunRecords

Command = Callable[[argparse.Namespace], int | None]
"""Runs a command. Returns the exit code, None for 0."""


STOPPED = 130
"""The exit code of a command that was stopped."""

_lost_output = False


def open_streams() -> None:
    """Make the standard streams usable. A process may be started without them; the next files that it opens would then
    get their numbers, and what libraries print would go into those files."""
    global _lost_output  # noqa: PLW0603 - of the process, like the stream
    _lost_output = False
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.open(os.devnull, os.O_RDWR), mode))  # noqa: PTH123, SIM115 - for good
            _lost_output = _lost_output or name == "stdout"
        elif isinstance(stream, io.TextIOWrapper) and mode == "w":
            stream.reconfigure(errors="replace")  # a character that the terminal lacks is shown as a question mark
    if _lost_output:
        say("The output cannot be written: standard output is closed.")


def is_output_lost() -> bool:
    """Whether output could not be written, for another reason than that its reader has seen enough."""
    return _lost_output


def print_line(text: str) -> None:
    """Print on stdout. Where that fails the rest is dropped: a run that trains matters more than its lines."""
    try:
        print(text, flush=True)
    except OSError as error:
        _drop_output(error)


def flush() -> None:
    """Write what is still to be written to stdout; at the exit of Python an error could not be reported."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _drop_output(error)


def _drop_output(error: OSError) -> None:
    global _lost_output  # noqa: PLW0603 - of the process, like the stream
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, BrokenPipeError):  # as with `| head`
        _lost_output = True
        say(f"The output cannot be written: {error.strerror}.")


def add_command(where: Any, name: str, command: Command, help: str = "") -> Any:
    """Add a command to a group of commands. Its parsed arguments hold the function to call as `command` and the parser,
    for errors of usage, as `parser`. help: what it does; by default that of `commands.HELP`."""
    sentence = help or HELP[name]
    made = where.add_parser(name, help=sentence, description=sentence)
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
    from modelforge.recipe import Recipe, parse_assignments

    return Recipe.from_file(Path(arguments.recipe)).with_settings(parse_assignments(arguments.set))


def add_group(where: Any, name: str) -> Any:
    """Add a command that is a group of commands."""
    return where.add_parser(name, help=HELP[name]).add_subparsers(metavar="COMMAND", required=True)


def open_forge() -> Forge:
    """The Forge of this process. Prints the message of its store, if any."""
    from modelforge.forge import shared_forge

    forge = shared_forge()
    if forge.store.message:
        say(forge.store.message)
    return forge


def open_records() -> RunRecords:
    """The runs of this home, for a command that only shows them: a Forge takes three times as long to load. Prints the
    message of its store, if any."""
    from modelforge.runs.records import RunRecords
    from modelforge.store.home import open_store

    store = open_store()
    if store.message:
        say(store.message)
    return RunRecords(store)


def answer(arguments: argparse.Namespace, shape: Any, text: str | None = None) -> None:
    """Print a result, as JSON with --json, else as text; as JSON also where there is no other text."""
    if arguments.json or text is None:
        print_json(shape, indent=2)
    else:
        print_line(text)


def print_json(shape: Any, *, indent: int | None = None) -> None:
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    print_line(json.dumps(shape, ensure_ascii=not unicode, indent=indent))


def table(rows: Sequence[dict[str, Any]], columns: tuple[str, ...]) -> str:
    """Rows as aligned text."""
    cells = [columns, *(tuple(str(row[name] if row[name] is not None else "-") for name in columns) for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def say(text: str) -> None:
    """Print on stderr; if even that fails, nobody can be told."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def ask(question: str) -> bool:
    """Whether somebody on the terminal says yes."""
    say(f"{question} [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def watch_on_terminal(doing: str) -> Callable[[float], None] | None:
    """Prints progress (from 0 to 1) on a terminal; None where stderr is not one."""
    if not sys.stderr.isatty():
        return None
    # Each line overwrites the one before.
    return lambda share: print(f"\r{doing}: {share:4.0%}\r", end="", file=sys.stderr, flush=True)
