"""What every page that shows a run shows: gathered from its events once, for all pages."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from modelforge.runs.event_text import describe_event
from modelforge.runs.feed import Feed
from modelforge.ui.look.metrics import SHOWN

MOST_POINTS = 1200
MOST_LINES = 400

CURVES = ("loss", "reward", "reward_margin")
"""The values in progress events that are drawn as curves."""


class RunView:
    """The curves, the answers, the latest numbers and the log of one run, gathered from its events."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._lock = threading.Lock()
        self.is_waiting = False  # for another run, see `Runs.is_waiting`
        self.cursor = 0
        self.curves: dict[str, list[tuple[float, float]]] = {}  # name in progress events -> (step, value)
        self.held_out: dict[str, list[tuple[float, float]]] = {}  # metric -> (step, value)
        self.answers: dict[str, dict[str, Any]] = {}
        self.latest: dict[str, dict[str, Any]] = {}
        self.warnings: list[str] = []
        self.lines: list[str] = []

    def refresh(self) -> int:
        """Add the new events. Returns the cursor."""
        with self._lock:
            events, self.cursor = self._feed.since(self.cursor)
            for event in events:
                self._take(event)
            return self.cursor

    def _take(self, event: dict[str, Any]) -> None:
        self.latest[event["type"]] = event
        match event["type"]:
            case "started":
                self._rewind(event.get("step", 0))
            case "progress":
                _add_points(self.curves, event, CURVES)
            case "evaluated":
                measured = {"loss": event.get("eval_loss"), **event}  # older runs wrote it under that name alone
                _add_points(self.held_out, measured, tuple(SHOWN))
            case "sampled":
                shown = self.answers.setdefault(event["prompt"], {"expected": event["expected"]})
                shown["before" if event["step"] == 0 else "after"] = event["answer"]
            case "warning":
                self.warnings.append(event["message"])
        if line := describe_event(event):
            self.lines = [*self.lines, f"{event['time'][11:19]}  {line}"][-MOST_LINES:]

    def _rewind(self, step: int) -> None:
        """A run resumes from its last checkpoint: the steps after that one are trained again."""
        self.curves, self.held_out = _keep_up_to(step, self.curves), _keep_up_to(step, self.held_out)
        self.warnings = []


def _keep_up_to(step: int, curves: dict[str, list[tuple[float, float]]]) -> dict[str, list[tuple[float, float]]]:
    return {name: [point for point in points if point[0] <= step] for name, points in curves.items()}


def _add_points(curves: dict[str, list[tuple[float, float]]], event: dict[str, Any], names: Sequence[str]) -> None:
    for name in names:
        value = event.get(name)
        if isinstance(value, int | float):
            points = curves.setdefault(name, [])
            points.append((event["step"], value))
            if len(points) > MOST_POINTS:
                curves[name] = points[::2]
