"""The files that are being looked at: each is checked once for each way of looking at it, not at every click."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from modelforge.data.checks import check
from modelforge.data.report import Report
from modelforge.errors import DatasetError
from modelforge.tasks import SHAPES

NONE = "-"
ROLES = {role.name: role for shape in SHAPES.values() for role in shape.roles}
_KEPT = 12
_PATIENCE_SECONDS = 5.0  # for a page that is gone


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

    @classmethod
    def of_report(cls, asked: Question, report: Report) -> Question:
        """The question that the widgets ask once they show this report."""
        columns = [report.mapping.columns.get(name, NONE) for name in ROLES]
        return cls.read(asked.path, report.shape.name, asked.repairs, columns)


class Looks:
    """Reports of the last few questions, shared by the handlers of one app."""

    def __init__(self) -> None:
        self._reports: OrderedDict[Any, Report] = OrderedDict()
        self._lock = threading.Lock()

    def look(self, question: Question, watch: Callable[[float], None] | None = None) -> Report:
        """The report; read again only where it is not at hand. watch is told the share that is read, from 0 to 1."""
        path = Path(question.path)
        key = (question, path.stat().st_mtime_ns) if path.exists() else None
        with self._lock:
            if key in self._reports:
                self._reports.move_to_end(key)
                return self._reports[key]
        columns = None if question.columns is None else dict(question.columns)
        report = check(path, None, columns, shape=question.shape or None, repairs=question.repairs, watch=watch)
        with self._lock:
            self._reports[key] = report
            if key is not None:
                self._reports[Question.of_report(question, report), key[1]] = report
            while len(self._reports) > _KEPT:
                self._reports.popitem(last=False)
        return report


class Reading:
    """A look in a thread of its own, so that the page can say how it goes however long one step of it takes."""

    def __init__(self, looks: Looks, question: Question) -> None:
        self.share = 0.0  # of the file that is read
        self._given_up = False
        pool = ThreadPoolExecutor(1, "modelforge-look")
        self._report: Future[Report] = pool.submit(looks.look, question, self._note)
        pool.shutdown(wait=False)  # it ends with its one look

    def wait(self, seconds: float) -> bool:
        """Whether it is done, after so many seconds at most."""
        return bool(wait_for([self._report], seconds).done)

    def give_up(self) -> None:
        """Stop at the next step; what is done already is not undone."""
        self._given_up = True

    def report(self) -> Report:
        """The report, waiting for it; or raises what the look raised, CancelledError where it was given up."""
        return self._report.result()

    def _note(self, share: float) -> None:
        if self._given_up:
            raise CancelledError
        self.share = share


class Turn:
    """Whose turn it is to write on a page: its newest look's. What an older one still has to say comes too late.

    closed_with: what the page says, where the newest thing that was asked is to look at nothing.
    """

    def __init__(self) -> None:
        self.closed_with = ""
        self._newest = 0
        self._speaking: set[int] = set()

    def take(self, closed_with: str = "") -> int:
        """Begin. Waits for what an older look is saying just now, as it would else arrive later than all that
        follows."""
        self._newest += 1
        self.closed_with = closed_with
        taken, started = self._newest, time.monotonic()
        while self._speaking and time.monotonic() - started < _PATIENCE_SECONDS:
            time.sleep(0.01)
        return taken

    def is_over(self, taken: int) -> bool:
        return taken != self._newest

    def speak(self, taken: int, shown: list[Any]) -> Iterator[list[Any]]:
        """Yields what is to be shown; once the turn is over, that nothing changes: a handler that yields nothing at
        all would empty every widget."""
        self._speaking.add(taken)
        try:
            yield [gr.skip()] * len(shown) if self.is_over(taken) else shown
        finally:
            self._speaking.discard(taken)
