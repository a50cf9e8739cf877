"""Checks the rows of one file, first each row, then all rows against each other, and makes the report."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from modelforge.data.columns import ColumnMapping, apply, has_text_only, read_clean_texts
from modelforge.data.duplicates.candidates import Indices, Pairs, find_first
from modelforge.data.duplicates.common_words import MOST_PAIRS
from modelforge.data.duplicates.fingerprints import Fingerprints, fingerprint_columns, fingerprint_texts
from modelforge.data.duplicates.similar import find_conflicts, find_near_duplicates, hash_whole_texts
from modelforge.data.forms import FORMS, ROW, Values
from modelforge.data.limits import MOST_COLUMNS, check_columns
from modelforge.data.personal_data import KINDS, contains, find_suspects
from modelforge.data.problems import Numbers, Problems
from modelforge.data.readers import RowSource
from modelforge.data.readers.reader import Block
from modelforge.data.repairs import DROP_DUPLICATES, DROP_NEAR_DUPLICATES, REPAIRS, SKIP_BAD_ROWS, RepairCount
from modelforge.data.report import Counts, Report
from modelforge.data.row_cache import MappedRows, RowCache
from modelforge.data.row_texts import CachedTexts, RowTexts, divide
from modelforge.data.rows import CleanTexts, Problem, Row
from modelforge.data.unused import describe_unused
from modelforge.tasks import read_texts
from modelforge.tasks.base import Texts
from modelforge.tasks.faults import STRIP, Fault, Repairs

FEWEST_ROWS = 2  # one to train on and one to hold out
FEW_ROWS = 20
SAME_WORDS = "identical, except for case and white space, to"
MOST_NEAR_DUPLICATES = 20_000
"""About how many are found. Of most rows of a file there is no use in a list; to drop them, all are found."""
_AHEAD = 3  # blocks of rows that may wait to be hashed


class RowChecks:
    """The rows of one file and what was found in them so far."""

    def __init__(self, mapping: ColumnMapping, repairs: Repairs) -> None:
        self.mapping = mapping
        self.wanted = repairs
        self.rows = 0
        self.columns: dict[str, None] = {}
        self.problems = Problems()
        self.form = FORMS[mapping.shape.form] if has_text_only(mapping) else ROW
        self.cache = RowCache(self.form)
        self.prints: list[Future[Fingerprints]] = []
        # While rows are read, written and searched, previous ones are hashed. Arrow and numpy release the GIL; each
        # further thread would cost a tenth more processor time.
        self._hashing = ThreadPoolExecutor(1, "modelforge-hash")
        self.numbers = array("L")
        self.lines = array("L")  # 0 where there are none
        self.done = dict.fromkeys(REPAIRS, 0)
        self.left = dict.fromkeys(REPAIRS, 0)  # how often repairs that were not chosen apply
        self.labels = {True: 0, False: 0}  # how many answers are labelled good and bad
        self.duplicates = 0
        self.distinct = 0

    @property
    def text_columns(self) -> Collection[str]:
        """The columns to read as arrays of text (`read_clean_arrays`); none if rows must be read one by one."""
        return () if self.form is ROW or self.mapping.missing else tuple(self.mapping.columns.values())

    def add(self, block: Block) -> None:
        """Add some rows of the file, readable or not."""
        if block.clean is not None:
            self.rows += block.length
            self._keep_texts(
                np.arange(block.number, block.number + block.length, dtype=np.uint64), block.lines, block.clean
            )
            return
        rows = [row for row in block.rows if isinstance(row, Row)]
        for problem in block.rows if len(rows) < len(block.rows) else ():
            if not isinstance(problem, Row):
                self._add_unreadable(problem)
        self.rows += len(rows)
        for columns in {tuple(row.values): None for row in rows}:  # almost always the same columns
            self.columns |= dict.fromkeys(columns)
            if len(self.columns) > MOST_COLUMNS:
                row = next(row for row in rows if tuple(row.values) == columns)
                check_columns(len(self.columns), "", row.number, row.line)
        if not rows or self.mapping.missing:
            return
        clean = None
        if self.form is not ROW:
            clean = read_clean_texts(self.mapping, [row.values for row in rows], self.wanted)
        if clean is not None:
            self._keep_texts(*_number(rows), clean)
        else:
            self._keep_one_by_one(rows)

    def _keep_texts(self, numbers: Numbers, lines: Numbers, clean: CleanTexts) -> None:
        """Add rows without faults that are listed."""
        fill = self.mapping.shape.fill
        assert fill is not None  # noqa: S101 - there would be no texts
        self._count(STRIP, clean.padded)
        self._keep(numbers, lines, fill(clean.texts), lambda index, role: clean.texts[role][index].as_py())

    def _keep_one_by_one(self, rows: Sequence[Row]) -> None:
        """Add the usable ones of some rows."""
        good: list[Row] = []
        packed: list[Values] = []
        texts: list[Texts] = []
        for row in rows:
            mapped, faults = apply(self.mapping, row.values, self.wanted)
            for fault in faults:
                self._add_fault(row, fault)
            try:
                values = None if mapped is None else self.form.pack(mapped)
            except ValueError as error:
                self._add(Problem("error", row.number, row.line, None, str(error), "Fix it, or remove the row."))
                values = None
            if mapped is None or values is None:
                if not faults.leave_out:
                    self._count(SKIP_BAD_ROWS)
                continue
            if "label" in mapped:
                self.labels[mapped["label"]] += 1
            good.append(row)
            packed.append(values)
            texts.append(read_texts(mapped))
        if self.form is ROW:
            self.prints.append(self._hashing.submit(fingerprint_texts, texts))
        columns = [
            pa.array([values[index] for values in packed], pa.string()) for index in range(len(self.form.columns))
        ]
        columns_of = self.mapping.columns
        self._keep(*_number(good), columns, lambda index, role: good[index].values.get(columns_of[role]))

    def _keep(self, numbers: Numbers, lines: Numbers, columns: Sequence[Any], read: Callable[[int, str], Any]) -> None:
        """Add usable rows as columns of the form. read: the value in the file, by index and role."""
        start = len(self.numbers)
        for kept, some in ((self.numbers, numbers), (self.lines, lines)):
            kept.frombytes(np.asarray(some, f"u{kept.itemsize}").tobytes())
        if self.form is not ROW:
            named = dict(zip(self.form.columns, columns, strict=True))
            nothing = pa.nulls(len(numbers), pa.string()).fill_null("")
            setting, asked, answered = (named.get(each, nothing) for each in self.form.compared)
            hashed = self._hashing.submit(fingerprint_columns, setting, asked, answered, nothing, quick=True)
            self.prints.append(hashed)
        self.cache.add(columns)
        self._find_personal_data(start, columns, read)
        if len(self.prints) > _AHEAD:
            self.prints[-_AHEAD].result()

    def _add_unreadable(self, problem: Problem) -> None:
        if problem.row is None:
            self.problems.add(problem)
            return
        self.rows += 1
        self._add(problem)
        self._count(SKIP_BAD_ROWS)

    def _find_personal_data(self, start: int, columns: Sequence[Any], read: Callable[[int, str], Any]) -> None:
        fix = "Remove private data before training: a model can repeat its training data."
        for index in find_suspects(columns):
            for kind in KINDS:
                role = next((role for role in self.mapping.columns if contains(kind, read(index, role))), None)
                if role is not None:
                    self._warn(start + index, f"This looks like {kind}.", fix, self.mapping.columns[role])

    def compare(self, step: Callable[[], None]) -> NDArray[np.bool_]:
        """Compare all rows with each other. Returns which ones are kept. step: called regularly; an exception from it
        cancels."""
        self.cache.finish()
        step()
        texts = CachedTexts(self.cache)
        joined = Fingerprints.join([hashed.result() for hashed in self.prints])
        self.close()  # what memory its thread had, the next ones use
        prints = hash_whole_texts(joined, texts)
        kept = np.ones(len(prints), np.bool_)
        copies, originals = self._compare_same(prints, kept)
        step()
        self._compare_similar(prints, texts, kept, step)
        late = kept[copies] & ~kept[originals]  # a copy of a near-duplicate is one too
        self._add_duplicates(copies[late], originals[late], "identical to", DROP_NEAR_DUPLICATES, kept)
        if self.mapping.shape.one_answer:
            problem = "This row has the same question as row {} and another answer."
            self._warn_rows(
                *find_conflicts(prints, kept), problem, "Keep the correct answer; a model cannot learn both."
            )
        return kept

    def _compare_similar(
        self, prints: Fingerprints, texts: RowTexts, kept: NDArray[np.bool_], step: Callable[[], None]
    ) -> None:
        """Find near-duplicates: all of them if they are dropped, else up to MOST_NEAR_DUPLICATES."""
        count = 0
        with closing(find_near_duplicates(prints, texts)) as found:
            for rows, others, same_words in found:
                for relation, chosen in ((SAME_WORDS, same_words), ("a near-duplicate of", ~same_words)):
                    self._add_duplicates(rows[chosen], others[chosen], relation, DROP_NEAR_DUPLICATES, kept)
                step()
                count += len(rows)
                if count >= MOST_NEAR_DUPLICATES and DROP_NEAR_DUPLICATES not in self.wanted:
                    problem = f"At least {count:,} rows are near-duplicates of others; then the search was ended."
                    fix = "Drop near-duplicates: then all are found."
                    self.problems.add(Problem("warning", None, None, None, problem, fix))
                    return

    def _compare_same(self, prints: Fingerprints, kept: NDArray[np.bool_]) -> Pairs:
        """Find rows that are identical, or identical except for case and white space. Returns copies, and the first
        identical row of each."""
        first = find_first(prints.whole)
        rows = np.flatnonzero(first != np.arange(len(prints)))
        originals = first[rows]
        seen: dict[Values, int] = {}  # rows that differ from their original
        for part in divide(self.cache.sizes[rows].astype(np.int64), MOST_PAIRS):
            for place in (part.start + np.flatnonzero(~self.cache.are_equal(rows[part], originals[part]))).tolist():
                row = int(rows[place])
                originals[place] = seen.setdefault(self.cache.read(row), row)
        is_copy = originals != rows
        same_words = rows[~is_copy]
        self._add_duplicates(same_words, first[same_words], SAME_WORDS, DROP_NEAR_DUPLICATES, kept)
        copies, originals = rows[is_copy], originals[is_copy]
        self._add_duplicates(copies, originals, "identical to", DROP_DUPLICATES, kept)
        self.duplicates = self.left[DROP_DUPLICATES]
        self.distinct = len(prints) - len(copies)
        return copies, originals

    def close(self) -> None:
        """Stop hashing, also if the check was cancelled."""
        self._hashing.shutdown(cancel_futures=True)

    def check_amount(self, kept: NDArray[np.bool_], fewest: int) -> None:
        """fewest: usable rows, and different ones, below which the file is refused."""
        usable = int(kept.sum())
        severity: Literal["error", "warning"] = "error"
        if self.problems.counts["error"]:
            return
        if self.rows == 0:
            problem, fix = "The file has no data rows.", "Use a file with one example in each row."
        elif usable < fewest:
            found = "are no usable rows" if usable == 0 else "is only 1 usable row"
            problem, fix = f"There {found}; at least {fewest} {'is' if fewest == 1 else 'are'} needed.", "Add examples."
        elif self.distinct < fewest:
            problem = f"All {usable} rows are identical; at least {fewest} different rows are needed."
            fix = "Add different examples."
        elif any(self.labels.values()) and not all(self.labels.values()):
            which = "good" if self.labels[True] else "bad"
            problem = f"All {usable} answers are labelled {which}; kto learns from what good and bad ones differ in."
            fix = "Add answers with the other label" + (", or choose prompts and answers." if which == "good" else ".")
        elif usable < FEW_ROWS:
            problem = f"There are only {usable} usable rows; a model learns little from fewer than {FEW_ROWS}."
            severity, fix = "warning", "Add examples."
        else:
            return
        self.problems.add(Problem(severity, None, None, None, problem, fix))

    def report(self, path: Path, source: RowSource | None, kept: NDArray[np.bool_]) -> Report:
        found = dict.fromkeys(source.columns if source else ()) | self.columns
        unused = [column for column in found if column not in self.mapping.columns.values()]
        sample = [row.values for row in source.sample] if source else []
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
            mapped_rows=MappedRows(self.cache, kept, self.numbers),
            all_problems=self.problems,
            labels=self.labels,
            unused_notes=describe_unused(unused, sample, learns_all="sft" in self.mapping.shape.methods),
        )

    def _count(self, repair: str, amount: int = 1) -> None:
        (self.done if repair in self.wanted else self.left)[repair] += amount

    def _add_fault(self, row: Row, fault: Fault) -> None:
        if fault.repair:
            self._count(fault.repair)
        if fault.fixed or fault.severity == "hint":
            return
        column = self.mapping.columns.get(fault.role)
        self._add(Problem(fault.severity, row.number, row.line, column, fault.problem, fault.fix))

    def _add(self, problem: Problem) -> None:
        """Add a problem of one row; an error becomes a warning if rows with errors are skipped."""
        if problem.severity == "error" and SKIP_BAD_ROWS in self.wanted:
            problem = replace(problem, severity="warning", problem=f"Skipped: {problem.problem}")
        self.problems.add(problem)

    def _add_duplicates(
        self, rows: Indices, others: Indices, relation: str, repair: str, kept: NDArray[np.bool_]
    ) -> None:
        self._count(repair, len(rows))
        if repair in self.wanted:
            kept[rows] = False
        else:
            fix = "Remove it, unless it should count twice."
            self._warn_rows(rows, others, f"This row is {relation} row {{}}.", fix)

    def _warn_rows(self, rows: Indices, others: Indices, problem: str, fix: str) -> None:
        """problem: a sentence with {} for the number of the other row."""
        if not len(rows):
            return
        numbers, lines = (np.frombuffer(each, f"u{each.itemsize}") for each in (self.numbers, self.lines))
        warning = Problem("warning", None, None, None, problem, fix)
        self.problems.add_alike(warning, numbers[rows], lines[rows], numbers[others])

    def _warn(self, index: int, problem: str, fix: str, column: str | None = None) -> None:
        line = self.lines[index] or None
        self.problems.add(Problem("warning", self.numbers[index], line, column, problem, fix))


def _number(rows: Sequence[Row]) -> tuple[Numbers, Numbers]:
    """The numbers and the lines of some rows, 0 for none."""
    return np.array([row.number for row in rows], np.uint64), np.array([row.line or 0 for row in rows], np.uint64)
