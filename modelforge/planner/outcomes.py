"""What runs on this machine really took, and how far the predictions were off: a small file in the cache.

The next prediction of the same kind is corrected by the median of the last ones that were of about its size.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from modelforge import paths

KEPT = 5  # outcomes of each kind
_SIMILAR = 4.0  # times as much or as little memory still tells something
_FARTHEST = 2.0  # a correction beyond this is no correction: something else was different


@dataclass(frozen=True)
class Outcome:
    """Bytes predicted before any correction, and measured at the peak; tokens a second; of which base model."""

    predicted: int
    measured: int
    tokens_per_second: float
    base_model: str


def read_outcomes(kind: str) -> list[Outcome]:
    """The last runs of that kind, the oldest first; none where nothing is known or the file is damaged."""
    try:
        return [Outcome(**row) for row in _read().get(kind, [])]
    except TypeError:
        return []


def add_outcome(kind: str, outcome: Outcome) -> None:
    """Keep what a run took, in place of the oldest of its kind."""
    known = _read()
    known[kind] = [asdict(each) for each in [*read_outcomes(kind), outcome][-KEPT:]]
    write_cache("outcomes.json", known)


def correction(kind: str, predicted: int) -> float:
    """By what to multiply a prediction: measured over predicted, of the last runs that were about as large."""
    ratios = [
        each.measured / each.predicted
        for each in read_outcomes(kind)
        if each.predicted > 0 and predicted / _SIMILAR <= each.predicted <= predicted * _SIMILAR
    ]
    return min(max(statistics.median(ratios), 1 / _FARTHEST), _FARTHEST) if ratios else 1.0


def measured_speed(kind: str, base_model: str) -> float:
    """Tokens a second of the last run of that kind with that base model; 0 where there was none."""
    return next(
        (each.tokens_per_second for each in reversed(read_outcomes(kind)) if each.base_model == base_model), 0.0
    )


def read_cache(name: str) -> dict[str, Any]:
    """A JSON object of ours in the cache; empty where there is none or it is damaged."""
    try:
        found = json.loads((paths.cache_dir() / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_cache(name: str, values: Mapping[str, Any]) -> None:
    """Replace it as a whole, so that no reader sees half of it."""
    target = paths.cache_dir() / name
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{name}.{os.getpid()}")
    partial.write_text(json.dumps(values), encoding="utf-8")
    partial.replace(target)


def _read() -> dict[str, Any]:
    return {kind: rows for kind, rows in read_cache("outcomes.json").items() if isinstance(rows, list)}
