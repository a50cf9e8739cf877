"""What the model answers, before and after: the same few held-out questions, shown while the run goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from modelforge.models.generate import write_answer
from modelforge.models.sampling import Sampling

QUESTIONS = 3
_SAMPLING = Sampling(max_new_tokens=48, temperature=0.0)


def show_answers(
    model: Any, tokenizer: Any, rows: Sequence[Mapping[str, Any]], *, step: int, emit: Callable[..., None]
) -> None:
    """Emit a `sampled` event for each of the first few rows: question, expected answer, the model's answer."""
    was_training = model.training
    model.eval()
    for row in islice(rows, QUESTIONS):
        messages = row["messages"]
        last = max(index for index, message in enumerate(messages) if message["role"] == "assistant")
        answer = "".join(write_answer(model, tokenizer, messages[:last], _SAMPLING))
        emit(
            "sampled",
            step=step,
            prompt=messages[last - 1]["content"],
            expected=messages[last]["content"],
            answer=answer,
        )
    model.train(was_training)
