"""What the model answers, before and after: the same few held-out questions, shown while the run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from modelforge.models.generate import write_answer
from modelforge.models.sampling import Sampling
from modelforge.tasks.base import Message

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
    for messages in islice(_find_questions(rows), QUESTIONS):
        last = len(messages) - 1
        answer = "".join(write_answer(model, tokenizer, messages[:last], _SAMPLING))
        emit(
            "sampled",
            step=step,
            prompt=messages[last - 1]["content"],
            expected=messages[last]["content"],
            answer=answer,
        )
    model.train(was_training)


def _find_questions(rows: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Message]]:
    """The chats that can be asked again, each up to its last answer."""
    for row in rows:
        messages = row.get("messages", ())
        answers = [turn for turn, message in enumerate(messages) if message["role"] == "assistant"]
        if answers and not row.get("tools") and not messages[answers[-1]].get("tool_calls"):
            yield messages[: answers[-1] + 1]
