"""What the model answers, before and after: the same few held-out questions, shown while the run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from modelforge.models.generate import write_answer
from modelforge.models.sampling import Sampling
from modelforge.tasks import read_exchange
from modelforge.tasks.base import Exchange

QUESTIONS = 3
_SAMPLING = Sampling(max_new_tokens=48, temperature=0.0)


def show_answers(
    model: Any, tokenizer: Any, rows: Sequence[Mapping[str, Any]], *, step: int, emit: Callable[..., None]
) -> None:
    """Emit a `sampled` event for each of the first few rows that ask something: question, expected answer, the model's.

    Rows of plain text ask nothing; those with tools would have to be asked with the tools.
    """
    was_training = model.training
    model.eval()
    for asked, expected, _ in islice(_find_questions(rows), QUESTIONS):
        answer = "".join(write_answer(model, tokenizer, asked, _SAMPLING))
        emit("sampled", step=step, prompt=asked[-1]["content"], expected=expected, answer=answer)
    model.train(was_training)


def _find_questions(rows: Sequence[Mapping[str, Any]]) -> Iterator[Exchange]:
    """The rows that can be asked without tools."""
    exchanges = (read_exchange(dict(row)) for row in rows)
    return (exchange for exchange in exchanges if exchange and not exchange.tools)
