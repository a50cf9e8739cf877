"""What the bench prints: rows, declared with their targets, and the figures measured for them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Row:
    """One line of the table, before it is measured.

    rival: what it is measured beside, in the same run; "" for nothing. judged: what the target is for, the ratio to
    the rival or our own value. better: which way is better. main: also in `make bench-quick`.
    """

    name: str
    rival: str
    unit: str
    target: float
    better: Literal["higher", "lower"]
    judged: Literal["ratio", "value"] = "ratio"
    main: bool = False

    @property
    def key(self) -> str:
        return f"{self.name} | {self.rival}"

    @property
    def aim(self) -> str:
        """The target as it is read: ">= 5", "<= 0.2 s"."""
        unit = f" {self.unit}" if self.judged == "value" and self.unit else ""
        return f"{'>=' if self.better == 'higher' else '<='} {self.target:g}{unit}"


@dataclass(frozen=True)
class Figure:
    """A row with what was measured: medians of both sides, and the judged number with its range over the pairs.

    fault: a condition that the comparison needs and that did not hold, as a sentence; the target then counts as missed.
    """

    row: Row
    ours: float
    theirs: float | None
    value: float
    low: float
    high: float
    pairs: int
    fault: str = ""

    @property
    def is_met(self) -> bool:
        row = self.row
        return not self.fault and (self.value >= row.target if row.better == "higher" else self.value <= row.target)


@dataclass(frozen=True)
class Skipped:
    """A row that could not be measured here, and why."""

    row: Row
    reason: str


@dataclass(frozen=True)
class Options:
    """What was asked for. data: a JSON list of instruction, input, output. rows, count: instead of the usual number of
    training rows and of pairs."""

    quick: bool = False
    data: Path | None = None
    rows: int | None = None
    count: int | None = None

    def pairs(self, usual: int, quick: int = 1) -> int:
        """How many pairs to measure: five where a pair is cheap, three where it is long."""
        return self.count or (quick if self.quick else usual)

    def wants(self, *rows: Row) -> bool:
        """Whether any of these rows is to be measured."""
        return not self.quick or any(row.main for row in rows)


def summarise(row: Row, ours: Sequence[float], theirs: Sequence[float] = (), fault: str = "") -> Figure:
    """The figure of a row from the values of each pair. theirs: empty for a row without a rival."""
    both = zip(ours, theirs, strict=True) if theirs else ()
    judged = [mine / other for mine, other in both] if row.judged == "ratio" else list(ours)
    return Figure(
        row,
        statistics.median(ours),
        statistics.median(theirs) if theirs else None,
        statistics.median(judged),
        min(judged),
        max(judged),
        len(ours),
        fault,
    )


def alternate(count: int, *ways: Callable[[], Any], warm: bool = False) -> list[list[Any]]:
    """Call each way in turn, `count` times; the results of each. warm: once more before, which is not counted: where
    the first call fills caches of the system."""
    found: list[list[Any]] = [[] for _ in ways]
    for turn in range(-int(warm), count):
        for results, way in zip(found, ways, strict=True):
            result = way()
            if turn >= 0:
                results.append(result)
    return found


def skip_all(rows: Iterable[Row], reason: str) -> list[Figure | Skipped]:
    return [Skipped(row, reason) for row in rows]
