"""Base models worth starting from, by task and by what fits. The list is data: assets/models.yaml."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from modelforge import paths, starter
from modelforge.hardware import Hardware
from modelforge.recipe import Task


@dataclass(frozen=True)
class Entry:
    """One base model of the catalogue. `parameters` is a count."""

    id: str
    parameters: int
    licence: str
    tasks: tuple[Task, ...]
    sentence: str

    @property
    def offline(self) -> bool:
        return self.id in starter.STARTERS


def entries() -> tuple[Entry, ...]:
    """Every base model of the catalogue, the smallest first."""
    listed = yaml.safe_load(paths.asset("models.yaml").read_text(encoding="utf-8"))
    found = [Entry(**{**row, "tasks": tuple(Task(task) for task in row["tasks"])}) for row in listed]
    return tuple(sorted(found, key=lambda entry: entry.parameters))


def recommended(hardware: Hardware, task: Task) -> list[str]:
    """Ids that fit this machine for a task: those that need no Hub first, then the largest that fits first."""
    fitting = [entry for entry in entries() if task in entry.tasks and entry.parameters <= hardware.largest_parameters]
    return [entry.id for entry in sorted(fitting, key=lambda entry: (not entry.offline, -entry.parameters))]


def is_custom(base_model: str) -> bool:
    """Whether somebody typed this base model, rather than choosing it from the catalogue."""
    return base_model not in {entry.id for entry in entries()}
