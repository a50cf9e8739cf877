"""Everything that is wrong with one file: counted in full, the first ones at hand, all of them kept on disk."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO

from modelforge import paths
from modelforge.data.rows import Problem

SHOWN_PROBLEMS = 1000
COLUMNS = ("severity", "row", "line", "column", "problem", "fix")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Problems:
    """Takes problems in any order. Raises OSError where the disk is full."""

    def __init__(self) -> None:
        self.counts = {"error": 0, "warning": 0}
        self._first: dict[str, list[Problem]] = {"error": [], "warning": []}
        self._more: IO[str] | None = None  # of those beyond the first, a line of JSON each

    def add(self, problem: Problem) -> None:
        self.counts[problem.severity] += 1
        kept = self._first[problem.severity]
        if len(kept) < SHOWN_PROBLEMS:
            kept.append(problem)
            return
        if self._more is None:
            paths.cache_dir().mkdir(parents=True, exist_ok=True)
            self._more = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace", dir=paths.cache_dir())  # noqa: SIM115 - lives as long as the report
        self._more.write(json.dumps(asdict(problem)) + "\n")

    @property
    def first_error(self) -> Problem | None:
        """The one to mend first: of the row that comes first, after those of the file as a whole."""
        return min(self._first["error"], key=_place, default=None)

    @property
    def shown(self) -> tuple[Problem, ...]:
        """The first 1,000, errors before warnings where there are more; in the order of their rows."""
        kept = (self._first["error"] + self._first["warning"])[:SHOWN_PROBLEMS]
        return tuple(sorted(kept, key=_place))

    def __iter__(self) -> Iterator[Problem]:
        """All of them: the first ones in the order of their rows, then the others as they were found."""
        yield from sorted(self._first["error"] + self._first["warning"], key=_place)
        if self._more is not None:
            self._more.seek(0)
            for line in self._more:
                yield Problem(**json.loads(line))

    def write_csv(self, path: Path) -> None:
        """All of them as a table for a spreadsheet. Texts from the file can begin like a formula; an apostrophe before
        such a cell keeps a spreadsheet from running it."""
        with path.open("w", encoding="utf-8-sig", errors="replace", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for problem in self:
                writer.writerow([_make_inert(value) for value in asdict(problem).values()])


def _make_inert(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _place(problem: Problem) -> int:
    return problem.row or 0
