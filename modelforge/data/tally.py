"""Takes the rows of one file one after another, checks each and then all against each other, and makes the report.

It holds what has been found so far; reading the file is not its concern (`checks`).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from modelforge.data.columns import ColumnMapping, apply_all
from modelforge.data.fingerprints import Printer
from modelforge.data.personal import find_personal, holds
from modelforge.data.problems import Problems
from modelforge.data.readers import RowSource
from modelforge.data.repairs import DROP_DUPLICATES, DROP_NEAR_DUPLICATES, REPAIRS, SKIP_BAD_ROWS, RepairCount
from modelforge.data.report import Counts, Report
from modelforge.data.rows import Problem, Row
from modelforge.data.similar import find_alike_rows, find_conflicts, find_first
from modelforge.data.spool import MappedRows, RowSpool, dump_row
from modelforge.tasks import read_texts
from modelforge.tasks.base import Fault, Repairs, Texts

FEWEST_ROWS = 2  # one to train on and one to hold out
FEW_ROWS = 20


class Tally:
    """What has been found so far in one file."""

    def __init__(self, mapping: ColumnMapping, repairs: Repairs) -> None:
        self.mapping = mapping
        self.wanted = repairs
        self.rows = 0
        self.columns: dict[str, None] = {}
        self.problems = Problems()
        self.spool = RowSpool()
        self.printer = Printer()
        self.hashes = array("q")  # of each usable row, as it will be written
        self.numbers = array("L")
        self.lines = array("L")  # 0 where there are none
        self.done = dict.fromkeys(REPAIRS, 0)
        self.left = dict.fromkeys(REPAIRS, 0)  # what repairs that are not wanted would change
        self.duplicates = 0

    def add(self, rows: Sequence[Row]) -> None:
        """Some readable rows."""
        self.rows += len(rows)
        good: list[Row] = []
        lines: list[bytes] = []
        texts: list[Texts] = []
        mapping = apply_all(self.mapping, [row.values for row in rows], self.wanted)
        for row, (mapped, faults) in zip(rows, mapping, strict=True):
            for fault in faults:
                self._add_fault(row, fault)
            if mapped is None:
                self._count(SKIP_BAD_ROWS)
                continue
            try:
                lines.append(dump_row(mapped))
            except ValueError:
                self._add_error(row.number, row.line, None, "There is half a character in this row.", "Mend it there.")
                self._count(SKIP_BAD_ROWS)
                continue
            good.append(row)
            texts.append(read_texts(mapped))
        self.printer.add(texts)
        self.spool.add(lines)
        self.hashes.extend(map(hash, lines))
        self.numbers.extend([row.number for row in good])
        self.lines.extend([row.line or 0 for row in good])
        self.columns |= dict.fromkeys(chain.from_iterable(row.values for row in rows))
        self._look_for_personal(good, lines)

    def add_unmapped(self, rows: Sequence[Row]) -> None:
        """Some readable rows of a file whose columns are not known."""
        self.rows += len(rows)
        self.columns |= dict.fromkeys(chain.from_iterable(row.values for row in rows))

    def add_unreadable(self, problem: Problem) -> None:
        if problem.row is None:
            self.problems.add(problem)
            return
        self.rows += 1
        self._add_error(problem.row, problem.line, problem.column, problem.problem, problem.fix)
        self._count(SKIP_BAD_ROWS)

    def _look_for_personal(self, rows: Sequence[Row], lines: Sequence[bytes]) -> None:
        for index, kind in find_personal(lines):
            row = rows[index]
            column = next((name for name in self.mapping.columns.values() if holds(kind, row.values.get(name))), None)
            fix = "Remove what is private before training: a model can repeat what it has seen."
            self.problems.add(Problem("warning", row.number, row.line, column, f"This looks like {kind}.", fix))

    def compare(self) -> NDArray[np.bool_]:
        """Compare the rows with each other. Returns which ones are kept."""
        prints = self.printer.finish()
        count = len(prints)
        kept = np.ones(count, np.bool_)
        first = find_first(np.frombuffer(self.hashes, np.int64).view(np.uint64)) if count else np.zeros(0, np.int64)
        for index in np.flatnonzero(first != np.arange(count)).tolist():
            self._add_likeness(index, int(first[index]), "the same as", DROP_DUPLICATES, kept)
        self.duplicates = self.left[DROP_DUPLICATES]
        same = find_first(prints.whole) if count else first
        for index in np.flatnonzero((same != np.arange(count)) & (first == np.arange(count))).tolist():
            like = "but for case and white space the same as"
            self._add_likeness(index, int(same[index]), like, DROP_NEAR_DUPLICATES, kept)
        read = self._read_texts
        for index, other in find_alike_rows(prints, read):
            self._add_likeness(index, other, "nearly the same as", DROP_NEAR_DUPLICATES, kept)
        if self.mapping.shape.one_answer and count:
            rows = np.flatnonzero(kept)
            for index, other in find_conflicts(prints.take(kept)):
                self._add_conflict(int(rows[index]), int(rows[other]))
        return kept

    def check_amount(self, kept: NDArray[np.bool_]) -> None:
        usable = int(kept.sum())
        if self.rows == 0 and not self.problems.counts["error"]:
            problem, fix = "The file has no data rows.", "Give a file with one example in each row."
            self.problems.add(Problem("error", None, None, None, problem, fix))
        elif self.problems.counts["error"]:
            return
        elif usable < FEWEST_ROWS:
            problem = f"There is only {usable} usable row; at least {FEWEST_ROWS} are needed."
            self.problems.add(Problem("error", None, None, None, problem, "Add examples."))
        elif len(set(self.hashes)) < FEWEST_ROWS:
            problem = f"All {usable} rows are the same, so there is nothing to learn from more than one."
            self.problems.add(Problem("error", None, None, None, problem, "Add other examples."))
        elif usable < FEW_ROWS:
            problem = f"There are only {usable} usable rows; a model learns little from fewer than {FEW_ROWS}."
            self.problems.add(Problem("warning", None, None, None, problem, "Add examples."))

    def report(self, path: Path, source: RowSource | None, kept: NDArray[np.bool_]) -> Report:
        found = dict.fromkeys(source.columns if source else ()) | self.columns
        return Report(
            file=str(path),
            format=source.format if source else "",
            encoding=source.encoding if source else "",
            rows=self.rows,
            columns=tuple(found),
            mapping=self.mapping,
            ok=not self.problems.counts["error"],
            problems=self.problems.shown,
            counts=Counts(self.problems.counts["error"], self.problems.counts["warning"], self.duplicates),
            repairs={name: RepairCount(self.done[name] + self.left[name], self.done[name]) for name in REPAIRS},
            mapped_rows=MappedRows(self.spool, kept, self.numbers),
            all_problems=self.problems,
        )

    def _count(self, repair: str) -> None:
        (self.done if repair in self.wanted else self.left)[repair] += 1

    def _add_fault(self, row: Row, fault: Fault) -> None:
        if fault.repair:
            self._count(fault.repair)
        if fault.mended or fault.severity == "hint":
            return
        column = self.mapping.columns.get(fault.role)
        if fault.severity == "error":
            self._add_error(row.number, row.line, column, fault.problem, fault.fix)
        else:
            self.problems.add(Problem("warning", row.number, row.line, column, fault.problem, fault.fix))

    def _add_error(self, row: int, line: int | None, column: str | None, problem: str, fix: str) -> None:
        """An error of one row; where bad rows are left out it hinders nothing, and is a warning."""
        if SKIP_BAD_ROWS in self.wanted:
            self.problems.add(Problem("warning", row, line, column, f"Left out: {problem}", fix))
        else:
            self.problems.add(Problem("error", row, line, column, problem, fix))

    def _add_likeness(self, index: int, other: int, like: str, repair: str, kept: NDArray[np.bool_]) -> None:
        self._count(repair)
        if repair in self.wanted:
            kept[index] = False
        else:
            problem = f"This row is {like} row {self.numbers[other]}."
            self._warn(index, problem, "Remove it, unless it shall count twice.")

    def _add_conflict(self, index: int, other: int) -> None:
        problem = f"This row asks the same as row {self.numbers[other]} and answers otherwise."
        self._warn(index, problem, "Keep the right answer; a model cannot learn both.")

    def _warn(self, index: int, problem: str, fix: str) -> None:
        line = self.lines[index] or None
        self.problems.add(Problem("warning", self.numbers[index], line, None, problem, fix))

    def _read_texts(self, index: int) -> Texts:
        return read_texts(self.spool.read(index))
