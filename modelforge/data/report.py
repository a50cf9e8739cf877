"""The report on a checked file: its columns, mapping, problems and usable rows.

All problems are counted; the first ones are in memory, the others on disk.
"""

from __future__ import annotations

import csv
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from modelforge import paths
from modelforge.data.columns import ColumnMapping
from modelforge.data.repairs import RepairCount
from modelforge.data.row_cache import MappedRows
from modelforge.data.rows import Problem
from modelforge.recipe import Task
from modelforge.tasks.base import Shape
from modelforge.tasks.labels import describe_scale

SHOWN_PROBLEMS = 1000
MOST_KINDS = 200
_VARIES = re.compile(r"'[^']*'|\"[^\"]*\"|\d[\d,.]*")  # what differs between problems of one kind
COLUMNS = ("severity", "row", "line", "column", "problem", "fix")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass
class ProblemKind:
    """Problems of one column whose sentences differ only in numbers and quoted texts. first: the first one found."""

    first: Problem
    count: int = 0


def _name_kind(problem: Problem) -> tuple[str, str | None, str]:
    return problem.severity, problem.column, _VARIES.sub("", problem.problem)


class Problems:
    """Collects problems in any order. Raises OSError if the disk is full."""

    def __init__(self) -> None:
        self.counts = {"error": 0, "warning": 0}
        self._first: dict[str, list[Problem]] = {"error": [], "warning": []}
        self._kinds: dict[tuple[str, str | None, str], ProblemKind] = {}
        self._more: IO[bytes] | None = None  # one line of JSON for each problem beyond the first

    def add(self, problem: Problem) -> None:
        self.counts[problem.severity] += 1
        name = _name_kind(problem)
        if name not in self._kinds and len(self._kinds) >= MOST_KINDS:
            name = (problem.severity, None, "")
        self._kinds.setdefault(name, ProblemKind(problem)).count += 1
        kept = self._first[problem.severity]
        if len(kept) < SHOWN_PROBLEMS:
            kept.append(problem)
            return
        if self._more is None:
            place = paths.make_folder(paths.cache_dir())
            self._more = tempfile.TemporaryFile(dir=place)  # noqa: SIM115 - lives as long as the report
        try:
            line = orjson.dumps(problem)
        except TypeError:  # half a character
            line = json.dumps(asdict(problem)).encode()
        self._more.write(line + b"\n")

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


@dataclass(frozen=True)
class Counts:
    errors: int
    warnings: int
    duplicates: int


@dataclass(frozen=True)
class Report:
    """What is in a file and what is wrong with it.

    rows: the number of data rows, readable or not. problems: at most 1,000, errors before warnings; all_problems: all
    of them, counts: their numbers. unused_notes: a sentence for each kind of unused column. mapped_rows: the usable
    rows, in order, read on demand. repairs: name -> how often it applies and was applied."""

    file: str
    format: str
    encoding: str
    rows: int
    columns: tuple[str, ...]
    mapping: ColumnMapping
    ok: bool
    problems: tuple[Problem, ...]
    counts: Counts
    repairs: Mapping[str, RepairCount]
    mapped_rows: MappedRows = field(repr=False)
    all_problems: Problems = field(repr=False)
    labels: Mapping[bool, int] = field(default_factory=dict)
    unused_notes: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        return self.mapping.task

    @property
    def shape(self) -> Shape:
        return self.mapping.shape

    @property
    def unused_columns(self) -> tuple[str, ...]:
        return tuple(column for column in self.columns if column not in self.mapping.columns.values())

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about how the file is read: labels, and columns that are not used."""
        found = []
        if "label" in self.mapping.columns and self.mapping.scale:
            found.append(describe_scale(self.mapping.scale))
        if any(self.labels.values()):
            found.append(f"{self.labels[True]:,} answers are labelled good and {self.labels[False]:,} bad.")
        return (*found, *self.unused_notes)

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "format": self.format,
            "encoding": self.encoding,
            "task": self.task.value,
            "shape": self.shape.name,
            "rows": self.rows,
            "usable": len(self.mapped_rows),
            "columns": list(self.columns),
            "mapping": dict(self.mapping.columns),
            "unused": list(self.unused_columns),
            "notes": list(self.notes),
            "ok": self.ok,
            "problems": [asdict(problem) for problem in self.problems],
            "counts": asdict(self.counts),
            "repairs": {name: asdict(count) for name, count in self.repairs.items() if count.possible},
        }
