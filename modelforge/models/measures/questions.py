"""Measures the answers that an encoder finds in texts."""

from __future__ import annotations

from collections.abc import Sequence

from modelforge.models.measures.sides import Measured, Sides
from modelforge.models.spans import find_answers, score_spans, window_encoder
from modelforge.tasks.base import MappedRow

AT_ONCE = 8


def measure(sides: Sides, rows: Sequence[MappedRow], wanted: Sequence[str]) -> Measured:
    """exact_match and f1, by SQuAD's normalisation."""
    recipe = sides.recipe
    sides.expect(len(rows))
    found = {}
    for side in sides.each():
        encoder = window_encoder(sides.tokenizer, recipe, side.model.config)
        answers: list[str] = []
        for start in range(0, len(rows), AT_ONCE):
            batch = rows[start : start + AT_ONCE]
            spans = find_answers(
                side.model,
                encoder,
                [(row["context"], row["question"]) for row in batch],
                max_answer_length=recipe.max_answer_length,
                may_be_missing=sides.has_unanswerable,
                turn=side.turn,
            )
            answers += [span.text for span in spans]
            sides.advance(len(batch))
        scores = score_spans(answers, rows)
        found[side.name] = {name: scores[name] for name in wanted if name in scores}
    return len(rows), found
