"""The files that are being looked at: each is checked once for each way of looking at it, not at every click."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelforge.data.checks import check_in_steps
from modelforge.data.report import Report
from modelforge.errors import DatasetError
from modelforge.tasks import SHAPES

NONE = "-"
ROLES = {role.name: role for shape in SHAPES.values() for role in shape.roles}
_KEPT = 6


@dataclass(frozen=True)
class Question:
    """What to look at, and how. shape "" and columns None are found out; a role mapped to "" has no column."""

    path: str
    shape: str = ""
    repairs: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] | None = None

    @classmethod
    def read(cls, path: str, shape: str | None, repairs: Sequence[str] | None, columns: Sequence[str]) -> Question:
        """From what the widgets show: a column for each of ROLES, of which those of the shape count."""
        if not path:
            raise DatasetError("No file is open.", fix="Drop a file, or pick a sample.")
        shown = {role.name for role in SHAPES[shape].roles} if shape else set()
        said = tuple(
            (name, "" if column in (None, NONE) else column)
            for name, column in zip(ROLES, columns, strict=True)
            if name in shown
        )
        return cls(path, shape or "", tuple(repairs or ()), said or None)


class Looks:
    """Reports of the last few questions, shared by the handlers of one app."""

    def __init__(self) -> None:
        self._reports: OrderedDict[Any, Report] = OrderedDict()
        self._lock = threading.Lock()

    def look(self, question: Question) -> Report:
        """The report; read again only where it is not at hand."""
        steps = self.look_in_steps(question)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                report: Report = done.value
                return report

    def look_in_steps(self, question: Question) -> Generator[float, None, Report]:
        """As `look`: yields the share that is done, and returns the report."""
        path = Path(question.path)
        key = (question, path.stat().st_mtime_ns) if path.exists() else None
        with self._lock:
            if key in self._reports:
                self._reports.move_to_end(key)
                return self._reports[key]
        columns = None if question.columns is None else dict(question.columns)
        report = yield from check_in_steps(path, None, columns, shape=question.shape or None, repairs=question.repairs)
        with self._lock:
            self._reports[key] = report
            while len(self._reports) > _KEPT:
                self._reports.popitem(last=False)
        return report
