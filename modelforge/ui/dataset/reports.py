"""Reports on the files that are open: each is checked once for each mapping, not at every click."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
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
_KEPT_REPORTS = 12
_SEND_WAIT_SECONDS = 5.0  # for a page that is gone


@dataclass(frozen=True)
class CheckRequest:
    """A file and how to read it. shape "" and columns None are detected; a role mapped to "" has no column."""

    path: str
    shape: str = ""
    repairs: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] | None = None

    @classmethod
    def read(cls, path: str, shape: str | None, repairs: Sequence[str] | None, *columns: str) -> CheckRequest:
        """From the values of `DatasetTab.mapped`: a column for each of ROLES; only those of the shape count."""
        if not path:
            raise DatasetError("No file is open.", fix="Drop a file, or pick a sample.")
        shown = {role.name for role in SHAPES[shape].roles} if shape else set()
        chosen = tuple(
            (name, "" if column in (None, NONE) else column)
            for name, column in zip(ROLES, columns, strict=True)
            if name in shown
        )
        return cls(path, shape or "", tuple(repairs or ()), chosen or None)


class ReportCache:
    """Reports of the last few requests, shared by the handlers of one app."""

    def __init__(self) -> None:
        self._reports: OrderedDict[Any, Report] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, request: CheckRequest, watch: Callable[[float], None] | None = None) -> Report:
        """The report, from the cache or by checking the file. watch gets the share that is read, from 0 to 1."""
        path = Path(request.path)
        key = (request, path.stat().st_mtime_ns) if path.exists() else None
        with self._lock:
            if key in self._reports:
                self._reports.move_to_end(key)
                return self._reports[key]
        columns = None if request.columns is None else dict(request.columns)
        report = check(path, None, columns, shape=request.shape or None, repairs=request.repairs, watch=watch)
        with self._lock:
            self._reports[key] = report
            if key is not None:  # also for the request that the widgets make once they show this report
                columns_shown = [report.mapping.columns.get(name, NONE) for name in ROLES]
                shown = CheckRequest.read(request.path, report.shape.name, request.repairs, *columns_shown)
                self._reports[shown, key[1]] = report
            while len(self._reports) > _KEPT_REPORTS:
                self._reports.popitem(last=False)
        return report


class LatestRequest:
    """Which of a page's requests is the newest: only that one may still update the page.

    closed_with: what the page shows where the newest request was to close the file.
    """

    def __init__(self) -> None:
        self.closed_with = ""
        self._newest = 0
        self._sending: set[int] = set()

    def begin(self, closed_with: str = "") -> int:
        """A new request; returns its number. Waits for what an older one is sending at this moment, which would
        otherwise arrive after all that follows."""
        self._newest += 1
        self.closed_with = closed_with
        number, started = self._newest, time.monotonic()
        while self._sending and time.monotonic() - started < _SEND_WAIT_SECONDS:
            time.sleep(0.01)
        return number

    def is_outdated(self, number: int) -> bool:
        return number != self._newest

    def send(self, number: int, shown: dict[Any, Any]) -> Iterator[dict[Any, Any]]:
        """Yields the values to show; once the request is outdated, that nothing changes: a handler that yields nothing
        at all would empty every widget."""
        self._sending.add(number)
        try:
            yield gr.skip() if self.is_outdated(number) else shown
        finally:
            self._sending.discard(number)
