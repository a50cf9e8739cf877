"""The same services on a terminal. Names, JSON and exit codes are fixed: other programs call them.

Exit 0 done, 1 a problem of the user's making (a message on stderr, no traceback), 2 wrong usage, 130 stopped.
With --json, stdout carries JSON only; everything else goes to stderr.

Each module has the commands about one thing: how they are called, what they do and what they print.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
import warnings

from modelforge import __version__
from modelforge.cli import data, legacy, machine, models, plan, runs
from modelforge.cli.runs import STOPPED
from modelforge.cli.terminal import say
from modelforge.errors import ModelForgeError


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = build_parser().parse_args(argv)
    quieten_libraries()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without a character shows a question mark for it
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
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has seen enough
        return 0


def build_parser() -> argparse.ArgumentParser:
    """Every command, in the order in which they are needed."""
    parser = argparse.ArgumentParser(
        prog="modelforge", description="Fine-tune a language model on the machine you have."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for group in (machine, data, plan, runs, models, legacy):
        group.add_commands(commands)
    return parser


def quieten_libraries() -> None:
    """No progress bars and no advice of libraries on a terminal that other programs read."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it misses an optional package at every import
