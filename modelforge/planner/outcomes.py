"""What runs on this machine really took, and how far their predictions were off: a small file in the cache.

The next prediction of the same kind is corrected by the median of the last ones of a similar size.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import Any

from modelforge.store.cache import read_cache, write_cache

KEPT = 5  # outcomes of each kind
_SIMILAR = 4.0  # times as much or as little memory: predictions of such a size are off alike
_SIMILAR_LENGTH = 1.3  # times as many or as few tokens a row: such rows are trained about as fast
_FARTHEST = 2.0  # a larger difference has another cause


@dataclass(frozen=True)
class Outcome:
    """Bytes predicted before any correction, and measured at the peak; tokens a second, with which base model, tokens a
    row in the mean, and rows a batch, both 0 where they were not recorded."""

    predicted: int
    measured: int
    tokens_per_second: float
    base_model: str
    mean_tokens: float = 0.0
    batch: int = 0


def read_outcomes(kind: str) -> list[Outcome]:
    """The last runs of that kind, the oldest first; empty if there are none or the file is damaged."""
    try:
        return [Outcome(**row) for row in _read().get(kind, [])]
    except TypeError:
        return []


def add_outcome(kind: str, outcome: Outcome) -> None:
    """Add what a run took; the oldest of its kind is dropped."""
    known = _read()
    known[kind] = [asdict(each) for each in [*read_outcomes(kind), outcome][-KEPT:]]
    write_cache("outcomes.json", known)


def correction(kind: str, predicted: int) -> float:
    """The factor for a prediction: measured over predicted, of the last runs of a similar size."""
    ratios = [
        each.measured / each.predicted
        for each in read_outcomes(kind)
        if each.predicted > 0 and predicted / _SIMILAR <= each.predicted <= predicted * _SIMILAR
    ]
    return min(max(statistics.median(ratios), 1 / _FARTHEST), _FARTHEST) if ratios else 1.0


def measured_speed(kind: str, base_model: str, mean_tokens: float | None = None, batch: int = 0) -> float:
    """Tokens a second of the last run of that kind with that base model and rows of about that mean length; of any rows
    where the length is not known; 0 where there was no such run. The speed of short rows says nothing of long ones."""
    for each in reversed(read_outcomes(kind)):
        alike = not mean_tokens or (
            mean_tokens / _SIMILAR_LENGTH <= each.mean_tokens <= mean_tokens * _SIMILAR_LENGTH and each.batch == batch
        )
        if each.base_model == base_model and each.tokens_per_second > 0 and alike:
            return each.tokens_per_second
    return 0.0


def _read() -> dict[str, Any]:
    return {kind: rows for kind, rows in read_cache("outcomes.json").items() if isinstance(rows, list)}
