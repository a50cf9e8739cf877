"""What is in a file and what is wrong with it, as it is shown, printed and prepared."""

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


@dataclass(frozen=True)
class Counts:
    errors: int
    warnings: int
    duplicates: int


@dataclass(frozen=True)
class Report:
    """What is in a file and what is wrong with it.

    rows counts all data rows, readable or not. problems holds the first 1,000, errors before warnings where there are
    more; all_problems holds all, counts counts them. mapped_rows are the rows that would be used, in order, read when
    asked for. repairs: name -> how often it would change something, and how often it did.
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
    repairs: Mapping[str, RepairCount]
    mapped_rows: MappedRows = field(repr=False)
    all_problems: Problems = field(repr=False)

    @property
    def task(self) -> Task:
        return self.mapping.task

    @property
    def shape(self) -> Shape:
        return self.mapping.shape

    @property
    def unused_columns(self) -> tuple[str, ...]:
        return tuple(column for column in self.columns if column not in self.mapping.columns.values())

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
            "ok": self.ok,
            "problems": [asdict(problem) for problem in self.problems],
            "counts": asdict(self.counts),
            "repairs": {name: asdict(count) for name, count in self.repairs.items() if count.possible},
        }
