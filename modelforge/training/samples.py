"""Sample answers of the model to the same few held-out prompts, before and after training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any

from modelforge.architecture import DECODER, Architecture
from modelforge.models.generate import Turn, write_answer
from modelforge.models.sampling import Sampling
from modelforge.recipe import Recipe
from modelforge.tasks import read_exchange
from modelforge.tasks.summarization import read_pair

PROMPTS = 3
_SAMPLING = Sampling(max_new_tokens=48, temperature=0.0)

Row = Mapping[str, Any]
Sample = tuple[str, str, str]
"""(prompt, expected answer or "", answer)."""


def show_answers(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Row],
    *,
    recipe: Recipe,
    architecture: Architecture = DECODER,
    step: int,
    emit: Callable[..., None],
    turn: Turn = nullcontext,
) -> None:
    """Emit a `sampled` event for each of the first few rows that have a prompt. turn: entered for each token."""
    answers = _ANSWERED[architecture.name](model, tokenizer, rows, recipe, turn)
    was_training = model.training
    model.eval()
    try:
        for prompt, expected, answer in islice(answers, PROMPTS):
            emit("sampled", step=step, prompt=prompt, expected=expected, answer=answer)
    finally:
        model.train(was_training)


def _answer_chats(model: Any, tokenizer: Any, rows: Sequence[Row], recipe: Recipe, turn: Turn) -> Iterator[Sample]:
    """Skips rows of plain text, which have no prompt, and rows with tools, which this prompt would lack."""
    for row in rows:
        exchange = read_exchange(dict(row))
        prompt, expected = (exchange.asked, exchange.answer) if exchange else (row.get("prompt"), "")
        if prompt and not (exchange and exchange.tools):
            answer = "".join(write_answer(model, tokenizer, prompt, _SAMPLING, turn))
            yield prompt[-1]["content"], expected, answer


def _answer_documents(model: Any, tokenizer: Any, rows: Sequence[Row], recipe: Recipe, turn: Turn) -> Iterator[Sample]:
    from modelforge.data.encode import PairEncoder
    from modelforge.models.generate import write_text

    encoder = PairEncoder(tokenizer, recipe.max_length, recipe.max_target_length)
    for row in rows:
        document, summary = read_pair(dict(row))
        source = encoder.encode(document, summary).input_ids
        yield document, summary, "".join(write_text(model, tokenizer, source, _SAMPLING, turn))


def _answer_questions(model: Any, tokenizer: Any, rows: Sequence[Row], recipe: Recipe, turn: Turn) -> Iterator[Sample]:
    from modelforge.models.spans import find_answers, window_encoder

    encoder = window_encoder(tokenizer, recipe, model.config)
    for row in rows:
        pairs = [(row["context"], row["question"])]
        (span,) = find_answers(
            model, encoder, pairs, max_answer_length=recipe.max_answer_length, may_be_missing=False, turn=turn
        )
        yield row["question"], next(iter(row["answers"]["text"]), ""), span.text


_ANSWERED: Mapping[str, Callable[[Any, Any, Sequence[Row], Recipe, Turn], Iterator[Sample]]] = {
    "decoder": _answer_chats,
    "encoder-decoder": _answer_documents,
    "encoder": _answer_questions,
}
