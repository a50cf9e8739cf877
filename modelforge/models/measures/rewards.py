"""Measures the rewards of a decoder's answers."""

from __future__ import annotations

from collections.abc import Sequence

from modelforge.data.encode import ChatEncoder
from modelforge.models.generate import write_answers
from modelforge.models.measures.sides import Measured, Sides
from modelforge.scores.rewards import check_rows, total
from modelforge.tasks.base import MappedRow

AT_ONCE = 8
_UNCUT = 10**9


def measure(sides: Sides, rows: Sequence[MappedRow], wanted: Sequence[str]) -> Measured:
    """mean_reward: of the likeliest answer to each prompt, by the rewards that the model was trained with. Raises
    RecipeError where a reward needs references that rows lack."""
    grpo = sides.recipe.grpo
    check_rows(grpo.rewards, rows)
    encoder = ChatEncoder(sides.tokenizer, _UNCUT)
    asked = sorted(
        ((encoder.encode_row({"prompt": row["prompt"]}).input_ids, row.get("reference") or "") for row in rows),
        key=lambda pair: len(pair[0]),
    )
    sides.expect(len(asked))
    found = {}
    for side in sides.each():
        earned = 0.0
        for start in range(0, len(asked), AT_ONCE):
            batch = asked[start : start + AT_ONCE]
            prompts = [ids for ids, _ in batch]
            answers = write_answers(side.model, sides.tokenizer, prompts, grpo.max_completion_length, side.turn)
            references = [reference for _, reference in batch]
            earned += sum(total(grpo.rewards, *pair) for pair in zip(answers, references, strict=True))
            sides.advance(len(batch))
        found[side.name] = {"mean_reward": earned / len(asked)}
    return len(asked), found
