"""The command line. Names, JSON and exit codes are fixed: other programs call them.

Exit codes: 0 done, 1 a user's error (a message on stderr, no traceback), 2 wrong usage, 130 stopped.
With --json, stdout carries only JSON; everything else goes to stderr.

Each module has the commands about one thing: their arguments, what they do and what they print.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
import warnings

from modelforge import __version__
from modelforge.cli import data, machine, models, runs
from modelforge.cli.runs import STOPPED
from modelforge.cli.terminal import say
from modelforge.errors import ModelForgeError


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    arguments = build_parser().parse_args(argv)
    quieten_libraries()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a character that the terminal lacks is shown as a question mark
    try:
        code: int = arguments.command(arguments) or 0
        return code
    except ModelForgeError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("Stopped.")
        return STOPPED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output has closed it
        return 0


def build_parser() -> argparse.ArgumentParser:
    """Every command, in the order of use."""
    parser = argparse.ArgumentParser(
        prog="modelforge", description="Fine-tune a language model on the machine you have."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for group in (machine, data, runs, models):
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
