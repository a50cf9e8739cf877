"""All problems of a file: counted, sorted into kinds; the first ones are in memory, the others on disk."""

from __future__ import annotations

import csv
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from modelforge import paths
from modelforge.data.rows import Problem

SHOWN_PROBLEMS = 1000
MOST_KINDS = 200
_VARIES = re.compile(r"'[^']*'|\"[^\"]*\"|\d[\d,.]*")  # what differs between problems of one kind
COLUMNS = ("severity", "row", "line", "column", "problem", "fix")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


Numbers = NDArray[np.unsignedinteger[Any]]
"""Of rows or lines."""


@dataclass
class ProblemKind:
    """Problems of one column whose sentences differ only in numbers and quoted texts. first: the first one found."""

    first: Problem
    count: int = 0


def _name_kind(problem: Problem) -> tuple[str, str | None, str]:
    return problem.severity, problem.column, _VARIES.sub("", problem.problem)


@dataclass(frozen=True)
class _Alike:
    """A problem of many rows, as `Problems.add_alike` gets it: a few bytes a row."""

    problem: Problem
    rows: Numbers
    lines: Numbers
    others: Numbers

    def __iter__(self) -> Iterator[Problem]:
        alike = self.problem
        for row, line, other in zip(self.rows, self.lines, self.others, strict=True):
            sentence = alike.problem.format(int(other))
            yield Problem(alike.severity, int(row), int(line) or None, alike.column, sentence, alike.fix)


class Problems:
    """Collects problems in any order. Raises OSError if the disk is full."""

    def __init__(self) -> None:
        self.counts = {"error": 0, "warning": 0}
        self._first: dict[str, list[Problem]] = {"error": [], "warning": []}
        self._kinds: dict[tuple[str, str | None, str], ProblemKind] = {}
        self._more: IO[bytes] | None = None  # one line of JSON for each problem beyond the first
        self._alike: list[_Alike] = []  # problems beyond the first, of many rows each

    def add(self, problem: Problem) -> None:
        self._count(problem, 1)
        kept = self._first[problem.severity]
        index = len(kept)
        if problem.row is None:  # it concerns the whole file, so it is shown, however many there are of rows
            index = next((index for index, each in enumerate(kept) if each.row is not None), index)
        if index < SHOWN_PROBLEMS:
            kept.insert(index, problem)
            return
        if self._more is None:
            place = paths.make_folder(paths.cache_dir())
            self._more = tempfile.TemporaryFile(dir=place)  # noqa: SIM115 - lives as long as the report
        try:
            line = orjson.dumps(problem)
        except TypeError:  # half a character
            line = json.dumps(asdict(problem)).encode()
        self._more.write(line + b"\n")

    def add_alike(self, problem: Problem, rows: Numbers, lines: Numbers, others: Numbers) -> None:
        """Add a problem of many rows, each of which is like another one. problem: its sentence has {} for the number of
        the other row. lines: 0 for none."""
        if not len(rows):
            return
        alike = _Alike(problem, rows, lines, others)
        kept = self._first[problem.severity]
        shown = list(islice(alike, max(SHOWN_PROBLEMS - len(kept), 0)))
        kept += shown
        self._count(next(iter(alike)), len(rows))
        if len(shown) < len(rows):
            rest = slice(len(shown), None)
            kept_rest = (each[rest].astype(np.uint32) for each in (rows, lines, others))
            self._alike.append(_Alike(problem, *kept_rest))

    def _count(self, problem: Problem, amount: int) -> None:
        self.counts[problem.severity] += amount
        name = _name_kind(problem)
        if name not in self._kinds and len(self._kinds) >= MOST_KINDS:
            name = (problem.severity, None, "")
        self._kinds.setdefault(name, ProblemKind(problem)).count += amount

    @property
    def kinds(self) -> list[tuple[ProblemKind, list[Problem]]]:
        """Each kind with those of its problems that are `shown`; errors first, then in the order of their rows. Beyond
        200 kinds, the others count as one."""
        members: dict[tuple[str, str | None, str], list[Problem]] = {name: [] for name in self._kinds}
        for problem in self.shown:
            name = _name_kind(problem)
            members[name if name in members else (problem.severity, None, "")].append(problem)
        found = [(kind, members[name]) for name, kind in self._kinds.items()]
        return sorted(found, key=lambda pair: (pair[0].first.severity, _place(pair[0].first)))

    @property
    def first_error(self) -> Problem | None:
        """The error to fix first: of the whole file, or else of the first row."""
        return min(self._first["error"], key=_place, default=None)

    @property
    def shown(self) -> tuple[Problem, ...]:
        """At most 1,000, errors before warnings, in the order of their rows."""
        kept = (self._first["error"] + self._first["warning"])[:SHOWN_PROBLEMS]
        return tuple(sorted(kept, key=_place))

    def __iter__(self) -> Iterator[Problem]:
        """All problems: the first ones in the order of their rows, then the others as they were found."""
        yield from sorted(self._first["error"] + self._first["warning"], key=_place)
        if self._more is not None:
            self._more.seek(0)
            for line in self._more:
                yield Problem(**json.loads(line))
        for alike in self._alike:
            yield from alike

    def write_csv(self, path: Path) -> None:
        """Write all problems as a table. Cells that begin like a formula get an apostrophe, so that a spreadsheet does
        not run text from the file."""
        with path.open("w", encoding="utf-8-sig", errors="replace", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for problem in self:
                writer.writerow([_make_inert(value) for value in asdict(problem).values()])


def _make_inert(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _place(problem: Problem) -> int:
    return problem.row or 0
