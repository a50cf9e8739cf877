"""The bundled sample datasets, written for this project; company, places and people are fictional."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from modelforge.paths import asset
from modelforge.recipe import Task


@dataclass(frozen=True)
class Sample:
    """A file that ships with the app. sentence: its content. rows: the number of examples."""

    name: str
    task: Task
    sentence: str
    rows: int
    path: Path


def samples() -> tuple[Sample, ...]:
    """All bundled samples, as assets/datasets/index.yaml lists them."""
    folder = asset("datasets")
    listed = yaml.safe_load((folder / "index.yaml").read_text(encoding="utf-8"))
    return tuple(
        Sample(entry["name"], Task(entry["task"]), entry["sentence"], entry["rows"], folder / entry["file"])
        for entry in listed
    )
