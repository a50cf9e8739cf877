"""The figures of the last release, in results.json: written with machine and date, and compared with those of today.

Each kind of machine has its own figures there. One counts as lost where it is more than LOSS worse than that of the
last release, measured with the same data on a machine of the same kind. Where no such machine was measured, the newest
figures of another are shown beside it and nothing more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.figures import Figure
from tests.bench.table import number

FILE = Path(__file__).with_name("results.json")
LOSS = 0.15


@dataclass(frozen=True)
class Machine:
    """What figures depend on. kind: processor, cores, which number format is fast on it, and the data. data: what is
    trained on and checked."""

    processor: str
    cores: int
    memory_gb: int
    fast_bfloat16: bool
    data: str
    system: str
    python: str
    torch: str

    @property
    def kind(self) -> str:
        fastest = "bfloat16" if self.fast_bfloat16 else "float32"
        return f"{self.processor}, {self.cores} cores, {fastest} is fastest, data: {self.data}"


@dataclass(frozen=True)
class Compared:
    """A figure beside the one of the last release. change: how much worse it is, as a share; negative is better."""

    figure: Figure
    before: float
    change: float
    same_kind: bool

    @property
    def is_lost(self) -> bool:
        return self.same_kind and self.change > LOSS

    @property
    def sentence(self) -> str:
        row = self.figure.row
        how = f"{abs(self.change):.0%} {'worse' if self.change > 0 else 'better'}"
        where = "" if self.same_kind else ", another machine or other data"
        lost = "LOST: " if self.is_lost else ""
        return f"{lost}{row.key}: {number(self.figure.value)} now, {number(self.before)} before ({how}{where})"


def read(file: Path = FILE) -> list[dict[str, Any]]:
    """What was written, one entry a kind of machine, the newest first; [] where nothing was."""
    return list(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else []


def compare(figures: Sequence[Figure], stored: Sequence[dict[str, Any]], machine: Machine) -> list[Compared]:
    """Each figure that the last release had too, and whose row was judged the same way."""
    alike = [each for each in stored if each["kind"] == machine.kind]
    same_kind = bool(alike)
    before = {each["key"]: each for release in (alike or stored)[:1] for each in release["figures"]}
    found = []
    for figure in figures:
        known = before.get(figure.row.key)
        if known and (known["better"], known["judged"]) == (figure.row.better, figure.row.judged):
            old = float(known["value"])
            kept = figure.value / old
            found.append(Compared(figure, old, 1 - kept if figure.row.better == "higher" else kept - 1, same_kind))
    return found


def write(figures: Sequence[Figure], machine: Machine, file: Path = FILE) -> None:
    """Keep these figures, those of the same kind of machine that were not measured now, each with its date, and those
    of other kinds."""
    stored, date = read(file), f"{datetime.now(UTC):%Y-%m-%d}"
    others = [each for each in stored if each["kind"] != machine.kind]
    kept = {each["key"]: each for release in stored if release not in others for each in release["figures"]}
    for each in figures:
        row = each.row
        kept[row.key] = {
            "key": row.key, "ours": each.ours, "theirs": each.theirs, "unit": row.unit, "value": each.value,
            "low": each.low, "high": each.high, "pairs": each.pairs, "target": row.target, "better": row.better,
            "judged": row.judged, "met": each.is_met, "fault": each.fault, "date": date,
        }  # fmt: skip
    newest = {"kind": machine.kind, "date": date, "machine": asdict(machine), "figures": [*kept.values()]}
    file.write_text(json.dumps([newest, *others], indent=2) + "\n", encoding="utf-8")
