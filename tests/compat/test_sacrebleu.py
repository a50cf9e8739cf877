"""The counts that are taken from sacrebleu, summed and scored, give what sacrebleu gives for the whole corpus."""

from __future__ import annotations

import pytest
from sacrebleu.metrics.chrf import CHRF

from modelforge.compat.sacrebleu import count_pieces, score_pieces

ANSWERS, REFERENCES = (
    ["the lamp is red", "a", "", "Größe", "x y"],
    ["the lamp is blue", "abc", "nothing", "größe", "x y"],
)


@pytest.mark.parametrize("count", range(1, 6))
def test_counts_that_are_summed_score_as_the_corpus(count: int) -> None:
    counts = count_pieces(ANSWERS[:count], REFERENCES[:count])
    assert counts.shape == (count, 18)
    theirs = CHRF().corpus_score(ANSWERS[:count], [REFERENCES[:count]]).score
    assert float(score_pieces(counts.sum(0))) == pytest.approx(theirs)


def test_many_sums_are_scored_at_once() -> None:
    counts = count_pieces(ANSWERS, REFERENCES)
    together = score_pieces(counts)
    assert together.shape == (5,)
    for row, (answer, reference) in enumerate(zip(ANSWERS, REFERENCES, strict=True)):
        assert together[row] == pytest.approx(CHRF().corpus_score([answer], [[reference]]).score)
