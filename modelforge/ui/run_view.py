"""What all viewers of a run see: kept up to date from its feed, once for everybody."""

from __future__ import annotations

import threading
from typing import Any

from modelforge.training.feed import Feed
from modelforge.training.words import describe

MOST_POINTS = 1200
MOST_LINES = 400


class RunView:
    """The curve, the answers, the latest numbers and the log of one run, gathered from its events."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._lock = threading.Lock()
        self.cursor = 0
        self.losses: list[tuple[float, float]] = []
        self.held_out: list[tuple[float, float]] = []
        self.answers: dict[str, dict[str, Any]] = {}
        self.latest: dict[str, dict[str, Any]] = {}
        self.lines: list[str] = []

    def refresh(self) -> int:
        """Take in what is new; returns the cursor."""
        with self._lock:
            events, self.cursor = self._feed.since(self.cursor)
            for event in events:
                self._take(event)
            return self.cursor

    def _take(self, event: dict[str, Any]) -> None:
        self.latest[event["type"]] = event
        match event["type"]:
            case "progress" if event["loss"] is not None:
                self.losses.append((event["step"], event["loss"]))
                if len(self.losses) > MOST_POINTS:
                    self.losses = self.losses[::2]
            case "evaluated":
                self.held_out.append((event["step"], event["eval_loss"]))
            case "sampled":
                shown = self.answers.setdefault(event["prompt"], {"expected": event["expected"]})
                shown["before" if event["step"] == 0 else "after"] = event["answer"]
        if line := describe(event):
            self.lines = [*self.lines, f"{event['time'][11:19]}  {line}"][-MOST_LINES:]
