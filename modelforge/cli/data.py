"""The command about datasets: read a file and report what is in it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelforge import paths
from modelforge.cli.terminal import add_command, add_group, answer, watch_on_terminal
from modelforge.data.repairs import REPAIRS
from modelforge.errors import RecipeError
from modelforge.recipe import parse_task

if TYPE_CHECKING:
    from modelforge.data.report import Report

LISTED_ROWS = 5  # of the problems of one kind


def add_commands(commands: Any) -> None:
    data = add_group(commands, "data")
    check = add_command(data, "check", check_data, "read a file, report its content and problems")
    check.add_argument("file", metavar="FILE", help="a file, or owner/name of a Hub dataset")
    check.add_argument("--task", help="task (default: detected)")
    check.add_argument("--map", action="append", default=[], metavar="ROLE=COLUMN", help="column to use for a role")
    check.add_argument(
        "--repair", action="append", default=[], metavar="NAME", help=f"fix to apply: {', '.join(REPAIRS)}"
    )
    check.add_argument("--config", metavar="NAME", help="config of a Hub dataset")
    check.add_argument("--split", metavar="NAME", help="split of a Hub dataset (default: train)")
    check.add_argument("--evaluation", metavar="FILE", help="an evaluation file: find its rows that are also in FILE")
    check.add_argument("--problems", metavar="CSV", help="write all problems to this file")


def check_data(arguments: argparse.Namespace) -> int:
    from modelforge.data import hub_dataset
    from modelforge.data.checks import check
    from modelforge.data.split import find_leaks

    path = Path(arguments.file)
    if paths.existing(arguments.file) is None and "/" in arguments.file and hub_dataset.looks_like_id(arguments.file):
        path = hub_dataset.fetch(arguments.file, arguments.config, arguments.split)
    task = parse_task(arguments.task) if arguments.task else None
    columns = _parse_mapping(arguments.map) or None
    report = check(path, task, columns, repairs=arguments.repair, watch=watch_on_terminal("reading"))
    shape = report.to_json()
    lines = list(describe_report(report))
    if arguments.problems:
        report.all_problems.write_csv(Path(arguments.problems))
    if arguments.evaluation:
        other = check(Path(arguments.evaluation), report.task, columns, shape=report.shape.name)
        leaks = find_leaks(report.mapped_rows, other.mapped_rows)
        shape["leaks"] = [
            {
                "evaluation_row": other.mapped_rows.number(leak.evaluation_row - 1),
                "training_row": report.mapped_rows.number(leak.training_row - 1),
                "kind": leak.kind,
            }
            for leak in leaks
        ]
        lines += [
            f"leak: evaluation row {leak['evaluation_row']} is training row {leak['training_row']}: {leak['kind']}"
            for leak in shape["leaks"]
        ]
    answer(arguments, shape, "\n".join(lines))
    return 0 if shape["ok"] else 1


def describe_report(report: Report) -> Iterator[str]:
    """The lines of a report; problems of one kind are one line."""
    shape = report.to_json()
    counts = shape["counts"]
    yield f"{shape['file']}: {', '.join(filter(None, (shape['format'], shape['encoding'])))}, {shape['rows']} rows"
    roles = ", ".join(f"{role} = {column}" for role, column in shape["mapping"].items())
    yield f"{shape['task']}, {shape['shape']}: {roles}"
    yield from report.notes
    for kind, members in report.all_problems.kinds:
        first = kind.first
        places = [f"{name} {value}" for name in ("row", "line") if (value := getattr(first, name)) is not None]
        if kind.count > 1:
            rows = [str(each.row) for each in members[:LISTED_ROWS] if each.row]
            listed = f" ({', '.join(rows)}{', ...' if kind.count > len(rows) else ''})"
            places = [f"{kind.count:,} rows{listed}" if rows else f"{kind.count:,} times"]
        places += [f"column {first.column}"] if first.column is not None else []
        yield f"{first.severity}: {', '.join(places) or 'file'}: {first.problem} {first.fix}"
    for name, count in shape["repairs"].items():
        state = f"{count['done']} done" if count["done"] else f"would fix {count['possible']} (--repair {name})"
        yield f"{REPAIRS[name].lower()}: {state}"
    yield (
        f"{counts['errors']} errors, {counts['warnings']} warnings, {counts['duplicates']} duplicates, "
        f"{shape['usable']} usable rows: " + ("ready to train" if shape["ok"] else "not ready")
    )


def _parse_mapping(pairs: list[str]) -> dict[str, str]:
    mapping = {}
    for pair in pairs:
        role, equals, column = pair.partition("=")
        if not equals:
            raise RecipeError(
                f"{pair!r} does not have the form ROLE=COLUMN.", where="--map", fix="For example: --map prompt=question"
            )
        mapping[role] = column
    return mapping
