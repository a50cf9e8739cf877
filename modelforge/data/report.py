"""The report on a checked file: its columns, mapping, problems and usable rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from modelforge.data.columns import ColumnMapping
from modelforge.data.problems import Problems
from modelforge.data.repairs import RepairCount
from modelforge.data.row_cache import MappedRows
from modelforge.data.rows import Problem
from modelforge.recipe import Task
from modelforge.tasks.base import Shape
from modelforge.tasks.labels import describe_scale


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
