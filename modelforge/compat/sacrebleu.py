"""sacrebleu: the counts behind chrF, a row of them for each text.

sacrebleu scores a corpus from the sums of these counts; its own bootstrap draws from them too, but compares systems
with random numbers of its own. `scores/intervals.py` needs the counts themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.chrf import CHRF


def count_pieces(answers: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
    """Of each answer and its reference, for lengths 1 to 6: pieces in the answer, in the reference, in both
    -> (rows, 18)."""
    return np.array(CHRF()._extract_corpus_statistics(list(answers), [list(references)]), dtype=float)


def score_pieces(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """chrF2 from sums of counts (..., 18), 0 to 100, as `CHRF._compute_f_score` has it, for many sums at once."""
    given, wanted, common = np.moveaxis(sums.reshape(*sums.shape[:-1], -1, 3), -1, 0)  # each (..., 6)
    counted = (given > 0) & (wanted > 0)
    lengths = np.maximum(counted.sum(-1), 1)
    precision, recall = (
        np.where(counted, common / np.maximum(all_, 1), 0).sum(-1) / lengths for all_ in (given, wanted)
    )
    weighed = CHRF.BETA**2 * precision + recall
    return np.where(weighed > 0, 100 * (1 + CHRF.BETA**2) * precision * recall / np.where(weighed > 0, weighed, 1), 0.0)
