"""Checks a whole file: opens it, maps its columns, and passes its rows to `row_checks`.

It changes nothing except what the chosen `repairs` fix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from modelforge.data.columns import ColumnMapping, choose_shapes, guess, read_clean_arrays
from modelforge.data.readers import open_rows
from modelforge.data.repairs import parse_repairs
from modelforge.data.report import Report
from modelforge.data.row_checks import FEWEST_ROWS, RowChecks
from modelforge.data.rows import Problem
from modelforge.errors import DatasetError
from modelforge.recipe import Task, parse_task
from modelforge.tasks.base import Role
from modelforge.tasks.faults import NUMBERS_TO_TEXT


def check(
    path: Path,
    task: Task | str | None = None,
    columns: Mapping[str, str] | None = None,
    *,
    shape: str | None = None,
    repairs: Iterable[str] = (),
    fewest: int = FEWEST_ROWS,
    watch: Callable[[float], None] | None = None,
) -> Report:
    """Read and check the whole file. A file that cannot be read gives a report with one error.

    fewest: usable rows that are needed. watch: called with the share of the work that is done, from 0 to 1; an
    exception from it cancels the check. Raises DatasetError for a file that does not exist, an unknown role, column or
    repair, RecipeError for an unknown task.
    """
    watch = watch or (lambda share: None)
    wanted = parse_task(task) if task else None
    chosen = parse_repairs(repairs)
    if not _exists(path):
        raise DatasetError("This file does not exist.", where=str(path), fix="Check the path.")
    try:
        source = open_rows(path, exact_numbers=NUMBERS_TO_TEXT in chosen)
    except DatasetError as error:
        checks = RowChecks(ColumnMapping(choose_shapes(wanted, shape)[0], {}, {}), chosen)
        checks.problems.add(Problem("error", None, None, None, error.what, error.fix))
        return checks.report(path, None, np.zeros(0, np.bool_))
    _raise_thresholds()
    mapping = guess(source.columns, (row.values for row in source.sample), wanted, columns, shape, chosen)
    checks = RowChecks(mapping, chosen)
    for warning in source.warnings:
        checks.problems.add(warning)
    for role in mapping.missing if source.columns else ():  # where no row is readable, its errors are enough
        checks.problems.add(_describe_missing(role, source.columns))
    try:
        try:
            for block in source.blocks(checks.text_columns, partial(read_clean_arrays, mapping, repairs=chosen)):
                checks.add(block)
                watch(source.position.share)
        except DatasetError as error:  # the format changes within the file
            checks.problems.add(Problem("error", None, None, None, error.what, error.fix))
        kept = checks.compare(lambda: watch(1.0))
    finally:
        checks.close()
    checks.check_amount(kept, fewest)
    return checks.report(path, source, kept)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # the name is too long, or a folder above it cannot be read
        return False


def _raise_thresholds() -> None:
    """Make glibc keep freed blocks of up to 31 MB instead of returning them to the kernel, which took a quarter of the
    time: its threshold follows the largest block freed so far (mallopt(3), M_MMAP_THRESHOLD). No effect elsewhere."""
    np.empty(31 << 20, np.uint8)


def _describe_missing(role: Role, columns: tuple[str, ...]) -> Problem:
    problem = f"No column was found for the role {role.name!r}: {role.help[0].lower()}{role.help[1:]}"
    named = ", ".join(columns[:50]) or "none"
    return Problem(
        "error", None, None, None, problem, f"Choose one (--map {role.name}=COLUMN). The columns are: {named}."
    )
