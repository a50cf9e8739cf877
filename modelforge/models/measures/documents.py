"""Measures the summaries that an encoder-decoder writes."""

from __future__ import annotations

from collections.abc import Sequence

from modelforge.data.encode import PairEncoder
from modelforge.models.measures.sides import Measured, Sides
from modelforge.models.text_to_text import write_texts
from modelforge.scores.metrics import METRICS, PERPLEXITY
from modelforge.tasks.base import MappedRow
from modelforge.tasks.summarization import read_pair

AT_ONCE = 8


def measure(sides: Sides, rows: Sequence[MappedRow], wanted: Sequence[str]) -> Measured:
    """The wanted comparisons of the summaries with the expected ones."""
    recipe = sides.recipe
    encoder = PairEncoder(sides.tokenizer, recipe.max_length, recipe.max_target_length)
    pairs = sorted((read_pair(row) for row in rows), key=lambda pair: len(pair[0]))
    sides.expect(len(pairs))
    found = {}
    for side in sides.each():
        answers: list[str] = []
        for start in range(0, len(pairs), AT_ONCE):
            sources = [encoder.encode(*pair).input_ids for pair in pairs[start : start + AT_ONCE]]
            answers += write_texts(side.model, sides.tokenizer, sources, recipe.max_target_length, side.turn)
            sides.advance(len(sources))
        references = [summary for _, summary in pairs]
        found[side.name] = {name: METRICS[name](answers, references) for name in wanted if name != PERPLEXITY}
    return len(pairs), found
