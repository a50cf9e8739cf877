"""Checks a file as a whole and row by row, and says everything that is wrong with it. It changes nothing.

`Report.to_json` is what `modelforge data check --json` prints.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from modelforge.data.columns import ColumnMapping, apply, guess
from modelforge.data.readers import open_rows
from modelforge.data.rows import Problem, Row
from modelforge.errors import DatasetError
from modelforge.recipe import Task, parse_task
from modelforge.tasks import TASKS
from modelforge.tasks.base import MappedRow, Severity

SHOWN_PROBLEMS = 1000
FEWEST_ROWS = 2  # one to train on and one to hold out
FEW_ROWS = 20


@dataclass(frozen=True)
class Counts:
    errors: int
    warnings: int
    duplicates: int


@dataclass(frozen=True)
class Report:
    """What is in a file and what is wrong with it.

    rows counts all data rows, readable or not. problems holds the first 1,000, errors before warnings where there are
    more; counts counts all. mapped_rows are the rows without an error, in order, duplicates included.
    """

    file: str
    format: str
    encoding: str
    rows: int
    columns: tuple[str, ...]
    mapping: ColumnMapping
    ok: bool
    problems: tuple[Problem, ...]
    counts: Counts
    mapped_rows: tuple[MappedRow, ...] = field(repr=False)

    @property
    def task(self) -> Task:
        return self.mapping.task

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "format": self.format,
            "encoding": self.encoding,
            "rows": self.rows,
            "columns": list(self.columns),
            "mapping": dict(self.mapping.columns),
            "ok": self.ok,
            "problems": [asdict(problem) for problem in self.problems],
            "counts": asdict(self.counts),
        }


def check(path: Path, task: Task | str | None = None, columns: Mapping[str, str] | None = None) -> Report:
    """Read the file from end to end. A file that cannot be read gives a report that says so.

    Raises DatasetError for a path without a file and for a mapping that names an unknown role or column, RecipeError
    for an unknown task.
    """
    wanted = parse_task(task) if task else None
    if not path.exists():
        raise DatasetError("There is no such file.", where=str(path), fix="Check the path.")
    tally = _Tally()
    try:
        source = open_rows(path)
    except DatasetError as error:
        tally.add(Problem("error", None, None, None, error.what, error.fix))
        empty = ColumnMapping(wanted or next(iter(TASKS)), {}, {})
        return _report(path, "", "", columns=(), mapping=empty, tally=tally)
    mapping = guess(source.columns, (row.values for row in source.sample), wanted, columns)
    for warning in source.warnings:
        tally.add(warning)
    for role in mapping.missing if source.columns else ():  # without a readable row, the rows' own problems say it
        tally.add(_describe_missing(role.name, role.help, source.columns))
    seen_columns = dict.fromkeys(source.columns)
    for row in source:
        tally.rows += 1
        if isinstance(row, Problem):
            tally.add(row)
        elif not mapping.missing:
            seen_columns |= dict.fromkeys(row.values)
            _check_row(row, mapping, tally)
    _check_amount(tally)
    return _report(path, source.format, source.encoding, columns=tuple(seen_columns), mapping=mapping, tally=tally)


def dump_row(row: MappedRow) -> str:
    """The one way in which a mapped row is written, so that equal rows are equal bytes."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))


@dataclass
class _Tally:
    """What has been found so far, with a bounded number of problems kept of each severity."""

    rows: int = 0
    mapped_rows: list[MappedRow] = field(default_factory=list)
    first_seen: dict[bytes, int] = field(default_factory=dict)
    kept: dict[Severity, list[Problem]] = field(default_factory=lambda: {"error": [], "warning": []})
    counted: dict[Severity, int] = field(default_factory=lambda: {"error": 0, "warning": 0})
    duplicates: int = 0

    def add(self, problem: Problem) -> None:
        self.counted[problem.severity] += 1
        if len(self.kept[problem.severity]) < SHOWN_PROBLEMS:
            self.kept[problem.severity].append(problem)


def _check_row(row: Row, mapping: ColumnMapping, tally: _Tally) -> None:
    mapped, faults = apply(mapping, row.values)
    for fault in faults:
        column = mapping.columns.get(fault.role)
        tally.add(Problem(fault.severity, row.number, row.line, column, fault.problem, fault.fix))
    if mapped is None:
        return
    tally.mapped_rows.append(mapped)
    digest = hashlib.blake2b(dump_row(mapped).encode(), digest_size=16).digest()
    first = tally.first_seen.setdefault(digest, row.number)
    if first != row.number:
        tally.duplicates += 1
        problem = f"This row is the same as row {first}."
        tally.add(Problem("warning", row.number, row.line, None, problem, "Remove it, unless it shall count twice."))


def _check_amount(tally: _Tally) -> None:
    usable = len(tally.mapped_rows)
    if tally.rows == 0:
        problem, fix = "The file has no data rows.", "Give a file with one example in each row."
        tally.add(Problem("error", None, None, None, problem, fix))
    elif usable < FEWEST_ROWS and not tally.counted["error"]:
        problem = f"There is only {usable} usable row; at least {FEWEST_ROWS} are needed."
        tally.add(Problem("error", None, None, None, problem, "Add examples."))
    elif usable < FEW_ROWS and not tally.counted["error"]:
        problem = f"There are only {usable} usable rows; a model learns little from fewer than {FEW_ROWS}."
        tally.add(Problem("warning", None, None, None, problem, "Add examples."))


def _describe_missing(role: str, help: str, columns: tuple[str, ...]) -> Problem:
    problem = f"No column could be found for the role {role!r}: {help[0].lower()}{help[1:]}"
    named = ", ".join(columns[:50]) or "none"
    return Problem("error", None, None, None, problem, f"Choose one (--map {role}=COLUMN). Columns are: {named}.")


def _report(
    path: Path, format: str, encoding: str, *, columns: tuple[str, ...], mapping: ColumnMapping, tally: _Tally
) -> Report:
    errors, warnings = tally.kept["error"], tally.kept["warning"]
    shown = sorted((errors + warnings)[:SHOWN_PROBLEMS], key=lambda problem: problem.row or 0)
    return Report(
        file=str(path),
        format=format,
        encoding=encoding,
        rows=tally.rows,
        columns=columns,
        mapping=mapping,
        ok=not tally.counted["error"],
        problems=tuple(shown),
        counts=Counts(tally.counted["error"], tally.counted["warning"], tally.duplicates),
        mapped_rows=tuple(tally.mapped_rows),
    )
