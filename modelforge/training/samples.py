"""Sample answers of the model to the same few held-out prompts: before training, after evaluations, and at the end.

Those from before training take seconds that nobody wants to wait for the first step. Where an adapter is new, the model
without it still gives them after that step, which is then shown first.

Bounds, so that training is hardly slowed: PROMPTS prompts, written side by side, ANSWER_TOKENS tokens of each answer,
after at most MOST_TIMES evaluations of a run. The likeliest token is taken each time: no random number is drawn, so a
run is the same with and without.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from transformers import TrainerCallback

from modelforge.architecture import DECODER, Architecture
from modelforge.compute.memory import return_free_blocks
from modelforge.models.generate import Turn, write_answers, write_texts
from modelforge.recipe import Recipe
from modelforge.tasks import read_exchange
from modelforge.tasks.summarization import read_pair

PROMPTS = 3
ANSWER_TOKENS = 48
MOST_TIMES = 10
LONGEST_SHOWN = 2000  # characters of a prompt or an expected answer in an event

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
    """Emit a `sampled` event for each of the first few rows that have a prompt. turn: entered for each token of all
    answers together, and for each event."""
    was_training = model.training
    model.eval()
    try:
        for prompt, expected, answer in _ANSWERED[architecture.name](model, tokenizer, rows, recipe, turn):
            with turn():
                emit("sampled", step=step, prompt=_shorten(prompt), expected=_shorten(expected), answer=answer)
    finally:
        model.train(was_training)
        return_free_blocks()


class SamplingCallback(TrainerCallback):
    """Shows answers after evaluations; evenly spaced ones if there are more than MOST_TIMES. Add it last: it may raise,
    and what the others do after an evaluation is done by then.

    show: called with the step; whether it worked: after a failure it is not called again. show_before: shows those from
    before training, once the first step is reported, and so before anything is saved to resume from; None where they
    have been shown. leave_out: called with the seconds that it took.
    """

    def __init__(
        self,
        show: Callable[[int], bool],
        leave_out: Callable[[float], None],
        evaluations: int,
        show_before: Callable[[], object] | None = None,
    ) -> None:
        self.show = show
        self.show_before = show_before
        self.leave_out = leave_out
        self.every = math.ceil(evaluations / MOST_TIMES)
        self.works = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if self.show_before and "loss" in (logs or {}):
            show_before, self.show_before = self.show_before, None
            began = time.monotonic()
            show_before()
            self.leave_out(time.monotonic() - began)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        number, between = divmod(state.global_step, state.eval_steps) if state.global_step else (0, 0)
        ends = control.should_training_stop  # the answers of the saved model are shown anyway
        if self.works and number and not between and number % self.every == 0 and not ends:
            began = time.monotonic()
            self.works = self.show(state.global_step)
            self.leave_out(time.monotonic() - began)


def _shorten(text: str) -> str:
    """Both ends of a long text."""
    half = LONGEST_SHOWN // 2
    return text if len(text) <= LONGEST_SHOWN else f"{text[:half]} … {text[-half:]}"


def _answer_chats(model: Any, tokenizer: Any, rows: Sequence[Row], recipe: Recipe, turn: Turn) -> list[Sample]:
    """Skips rows of plain text, which have no prompt, and rows with tools, which this prompt would lack."""
    asked: list[tuple[list[Any], str]] = []
    for row in rows:
        exchange = read_exchange(dict(row))
        prompt, expected = (exchange.asked, exchange.answer) if exchange else (row.get("prompt"), "")
        if prompt and not (exchange and exchange.tools) and len(asked) < PROMPTS:
            asked.append((list(prompt), expected))
    if not asked:
        return []
    template = {"add_generation_prompt": True, "return_dict": True}
    prompts = [tokenizer.apply_chat_template(prompt, **template)["input_ids"] for prompt, _ in asked]
    prompts = [ids[-recipe.max_length :] for ids in prompts]  # no longer than what is trained on
    answers = write_answers(model, tokenizer, prompts, ANSWER_TOKENS, turn)
    return [
        (prompt[-1]["content"], expected, answer) for (prompt, expected), answer in zip(asked, answers, strict=True)
    ]


def _answer_documents(model: Any, tokenizer: Any, rows: Sequence[Row], recipe: Recipe, turn: Turn) -> list[Sample]:
    from modelforge.data.encode import PairEncoder

    encoder = PairEncoder(tokenizer, recipe.max_length, recipe.max_target_length)
    pairs = [read_pair(dict(row)) for row in rows[:PROMPTS]]
    sources = [encoder.encode(*pair).input_ids for pair in pairs]
    answers = write_texts(model, tokenizer, sources, ANSWER_TOKENS, turn)
    return [(document, summary, answer) for (document, summary), answer in zip(pairs, answers, strict=True)]


def _answer_questions(model: Any, tokenizer: Any, rows: Sequence[Row], recipe: Recipe, turn: Turn) -> list[Sample]:
    from modelforge.models.spans import find_answers, window_encoder

    asked = rows[:PROMPTS]
    spans = find_answers(
        model,
        window_encoder(tokenizer, recipe, model.config),
        [(row["context"], row["question"]) for row in asked],
        max_answer_length=recipe.max_answer_length,
        may_be_missing=False,
        turn=turn,
    )
    expected = [next(iter(row["answers"]["text"]), "") for row in asked]
    return [(row["question"], *pair) for row, *pair in zip(asked, expected, (span.text for span in spans), strict=True)]


_ANSWERED: Mapping[str, Callable[[Any, Any, Sequence[Row], Recipe, Turn], list[Sample]]] = {
    "decoder": _answer_chats,
    "encoder-decoder": _answer_documents,
    "encoder": _answer_questions,
}
