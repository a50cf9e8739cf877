"""The command that answers a file of prompts."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from modelforge.cli.terminal import add_command, answer, open_forge, say

SHOWN_PROBLEMS = 20


def add_commands(commands: Any) -> None:
    batch = add_command(commands, "batch", answer_batch)
    batch.add_argument("model", metavar="MODEL", help="id, unique prefix or name")
    batch.add_argument("file", type=Path, metavar="FILE", help="prompts, documents, or questions with their context")
    batch.add_argument("--out", type=Path, required=True, metavar="FILE", help="a new .jsonl or .csv file")
    batch.add_argument("--resume", action="store_true", help="continue what was stopped or killed")
    batch.add_argument("--base", action="store_true", help="use the untrained base model")
    batch.add_argument("--max-new-tokens", type=int, default=256, metavar="N")
    batch.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="ROLE=COLUMN",
        help="the column of a role, such as prompt=Question",
    )


def answer_batch(arguments: argparse.Namespace) -> None:
    from modelforge.batch.answer import Progress, answer_file, describe_problem
    from modelforge.models.sampling import Sampling

    columns = dict(each.split("=", 1) for each in arguments.map if "=" in each)
    if len(columns) < len(arguments.map):
        arguments.parser.error("--map needs ROLE=COLUMN")
    longest = Sampling.build(max_new_tokens=arguments.max_new_tokens).max_new_tokens
    forge = open_forge()
    reported = 0

    def watch(progress: Progress) -> None:
        nonlocal reported
        for problem in progress.problems[reported:SHOWN_PROBLEMS]:
            say(f"Left out: {describe_problem(arguments.file.name, problem)}")
        reported = max(reported, len(progress.problems))
        if sys.stderr.isatty():
            print(f"\r{progress.done} answered, {progress.share:4.0%}\r", end="", file=sys.stderr, flush=True)

    found = answer_file(
        forge.playground,
        forge.models.find(arguments.model),
        arguments.file,
        arguments.out,
        resume=arguments.resume,
        base=arguments.base,
        max_new_tokens=longest,
        columns=columns,
        watch=watch,
    )
    watch(found)
    if found.broken > SHOWN_PROBLEMS:
        say(f"{found.broken - SHOWN_PROBLEMS} more rows were left out.")
    text = f"{found.done} of {found.rows} rows answered in {found.seconds:.1f} s: {arguments.out}"
    answer(arguments, found.as_json(), text)
