"""Checks a file from end to end: opens it, finds out what its columns mean, and hands its rows to a tally.

It changes nothing but what the user said may be mended (`repairs`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from modelforge.data.columns import ColumnMapping, guess
from modelforge.data.readers import RowSource, open_rows
from modelforge.data.repairs import parse_repairs
from modelforge.data.report import Report
from modelforge.data.row_checks import Tally
from modelforge.data.rows import Problem
from modelforge.errors import DatasetError
from modelforge.recipe import Task, parse_task
from modelforge.tasks import SHAPES
from modelforge.tasks.base import Role, Shape
from modelforge.tasks.texts import NUMBERS_TO_TEXT


def check(
    path: Path,
    task: Task | str | None = None,
    columns: Mapping[str, str] | None = None,
    *,
    shape: str | None = None,
    repairs: Iterable[str] = (),
    watch: Callable[[float], None] | None = None,
) -> Report:
    """Read the file from end to end. A file that cannot be read gives a report that says so.

    watch is told the share of the file that is done, from 0 to 1. Raises DatasetError for a path without a file, a
    mapping that names an unknown role or column and an unknown repair, RecipeError for an unknown task.
    """
    steps = check_in_steps(path, task, columns, shape=shape, repairs=repairs)
    while True:
        try:
            share = next(steps)
        except StopIteration as done:
            report: Report = done.value
            return report
        if watch is not None:
            watch(share)


def check_in_steps(
    path: Path,
    task: Task | str | None = None,
    columns: Mapping[str, str] | None = None,
    *,
    shape: str | None = None,
    repairs: Iterable[str] = (),
) -> Generator[float, None, Report]:
    """As `check`: yields the share of the work that is done, and returns the report. Closing it gives up."""
    wanted = parse_task(task) if task else None
    mending = parse_repairs(repairs)
    if not path.exists():
        raise DatasetError("There is no such file.", where=str(path), fix="Check the path.")
    try:
        source = open_rows(path, exact_numbers=NUMBERS_TO_TEXT in mending)
    except DatasetError as error:
        nothing = ColumnMapping(_first_shape(wanted, shape), {}, {})
        tally = Tally(nothing, mending)
        tally.problems.add(Problem("error", None, None, None, error.what, error.fix))
        return tally.report(path, None, np.zeros(0, np.bool_))
    _raise_thresholds()
    mapping = guess(source.columns, (row.values for row in source.sample), wanted, columns, shape)
    tally = Tally(mapping, mending)
    for warning in source.warnings:
        tally.problems.add(warning)
    for role in mapping.missing if source.columns else ():  # without a readable row, the rows' own problems say it
        tally.problems.add(_describe_missing(role, source.columns))
    try:
        yield from _read_all(source, tally)
        kept = yield from _compare(tally)
    finally:
        tally.close()
    tally.check_amount(kept)
    return tally.report(path, source, kept)


def _read_all(source: RowSource, tally: Tally) -> Generator[float, None, None]:
    try:
        for block in source.blocks(tally.text_columns, tally.read_texts_of):
            tally.add(block)
            yield source.position.share
    except DatasetError as error:  # the file ends otherwise than it began
        tally.problems.add(Problem("error", None, None, None, error.what, error.fix))


def _compare(tally: Tally) -> Generator[float, None, NDArray[np.bool_]]:
    """All that is left is done once the file has been read, so the share stays what it is."""
    steps = tally.compare()
    while True:
        try:
            next(steps)
        except StopIteration as done:
            kept: NDArray[np.bool_] = done.value
            return kept
        yield 1.0


def _raise_thresholds() -> None:
    """Let glibc keep blocks of up to 31 MB that are freed, rather than hand them back and have the kernel clear them
    again for the next block of rows, which took a quarter of the time: its bounds follow the largest block freed so
    far (mallopt(3), M_MMAP_THRESHOLD). Elsewhere this does nothing."""
    np.empty(31 << 20, np.uint8)


def _describe_missing(role: Role, columns: tuple[str, ...]) -> Problem:
    problem = f"No column could be found for the role {role.name!r}: {role.help[0].lower()}{role.help[1:]}"
    named = ", ".join(columns[:50]) or "none"
    return Problem("error", None, None, None, problem, f"Choose one (--map {role.name}=COLUMN). Columns are: {named}.")


def _first_shape(task: Task | None, shape: str | None) -> Shape:
    """The shape to name for a file that could not even be opened."""
    return next(each for each in SHAPES.values() if task in (None, each.task) and shape in (None, each.name))
