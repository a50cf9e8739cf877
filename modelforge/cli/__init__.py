"""The command line. Names, JSON and exit codes are fixed: other programs call them.

Exit codes: 0 done, 1 a user's error (a message on stderr, no traceback), 2 wrong usage, 130 stopped.
With --json, stdout carries only JSON; everything else goes to stderr. Output that cannot be written stops no command.

Each module has the commands about one thing: their arguments, what they do and what they print.
"""

from __future__ import annotations

import argparse
import logging
import os
import warnings

from modelforge import __version__, paths
from modelforge.cli import baseline, batch, data, exports, machine, models, runs, serve, terminal
from modelforge.cli.runs import STOPPED
from modelforge.cli.terminal import say
from modelforge.errors import ModelForgeError
from modelforge.store.leftovers import remove_leftovers


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    terminal.open_streams()
    try:
        arguments = build_parser().parse_args(argv)
        quieten_libraries()
        code = _run(arguments)
    finally:
        terminal.flush()
    return code or int(terminal.is_output_lost())


def _run(arguments: argparse.Namespace) -> int:
    try:
        paths.make_private(paths.home())
        remove_leftovers(paths.home())
        return arguments.command(arguments) or 0
    except ModelForgeError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("Stopped.")
        return STOPPED
    except OSError as error:  # of a file or folder that the user named, or of the machine
        say(f"{error.filename or 'The system'}: {error.strerror or error}. Check that it exists and may be used.")
        return 1


def build_parser() -> argparse.ArgumentParser:
    """Every command, in the order of use."""
    parser = argparse.ArgumentParser(
        prog="modelforge", description="Fine-tune a language model on the machine you have."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for group in (machine, data, baseline, runs, models, exports, serve, batch):
        group.add_commands(commands)
    return parser


def quieten_libraries() -> None:
    """Hide the progress bars and advice of libraries."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns about an optional package at every import
