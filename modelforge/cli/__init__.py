"""The command line. Names, JSON and exit codes are fixed: other programs call them.

Exit codes: 0 done, 1 a user's error (a message on stderr, no traceback), 2 wrong usage, 130 stopped, by Ctrl-C or
SIGTERM.
With --json, stdout carries only JSON; everything else goes to stderr. Output that cannot be written stops no command.

Each module has the commands about one thing: their arguments, what they do and what they print. Only the module of the
command that is used is loaded; `commands.py` lists them all.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from importlib import import_module

from modelforge import __version__
from modelforge.cli import terminal
from modelforge.cli.commands import MODULES
from modelforge.cli.terminal import STOPPED, say
from modelforge.errors import ModelForgeError


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    terminal.open_streams()
    words = sys.argv[1:] if argv is None else argv
    try:
        arguments = build_parser(words).parse_args(words)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # what a command has begun is put in order
        quieten_libraries()
        code = _run(arguments)
    finally:
        terminal.flush()
    return code or int(terminal.is_output_lost())


def _run(arguments: argparse.Namespace) -> int:
    try:
        from modelforge import paths
        from modelforge.store.leftovers import remove_leftovers

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


def build_parser(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The parser of these arguments: all commands, in the order of use, but only the one that they name with its
    arguments. None: each with its arguments."""
    parser = argparse.ArgumentParser(
        prog="modelforge", description="Fine-tune a language model on the machine you have."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    named = None if words is None else next((word for word in words if not word.startswith("-")), "")
    for module, listed in MODULES.items():
        if named is None or named in listed:
            import_module(f"modelforge.cli.{module}").add_commands(commands)
        else:
            for name, sentence in listed.items():
                commands.add_parser(name, help=sentence)
    return parser


def quieten_libraries() -> None:
    """Hide the progress bars and advice of libraries."""
    import logging

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # it would read every installed package to find some
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns about an optional package at every import
