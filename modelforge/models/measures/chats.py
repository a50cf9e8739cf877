"""Measures what a decoder writes: how likely it finds the expected answers, and how its own compare with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from modelforge.data.encode import IGNORED, ChatEncoder, Encoded
from modelforge.models.generate import write_answers
from modelforge.models.measures.sides import Measured, Side, Sides
from modelforge.scores.metrics import METRICS, PERPLEXITY, perplexity
from modelforge.tasks import read_exchange
from modelforge.tasks.base import MappedRow

ANSWERS_AT_ONCE = 8
LONGEST_ANSWER = 512  # tokens; a model that does not know where to stop writes on to the bound
_UNCUT = 10**9  # tokens; prompts are not cut, as in a chat


@dataclass(frozen=True)
class Trial:
    """One row to measure with. encoded: as training saw it. prompt: token ids whose answer is `reference`; empty where
    the row has no answer in text."""

    encoded: Encoded
    prompt: list[int]
    reference: str

    @property
    def has_labels(self) -> bool:
        return any(label != IGNORED for label in self.encoded.labels[1:])  # nothing predicts the first token


def measure(sides: Sides, rows: Sequence[MappedRow], wanted: Sequence[str]) -> Measured:
    """perplexity, and the wanted comparisons of texts; those of answers are left out where no row has a prompt."""
    trials = make_trials(rows, ChatEncoder(sides.tokenizer, sides.longest))
    compared = [name for name in wanted if name != PERPLEXITY]
    sides.expect(len(trials) * ((PERPLEXITY in wanted) + bool(compared)))
    found: dict[str, dict[str, float]] = {}
    for side in sides.each() if trials else ():
        measured = found.setdefault(side.name, {})
        if PERPLEXITY in wanted and (loss := mean_loss(sides, side, trials)) is not None:
            measured[PERPLEXITY] = perplexity(loss)
        if compared:
            answers, references = ask(sides, side, trials)
            measured |= {name: METRICS[name](answers, references) for name in compared if answers}
    return len(trials), found


def make_trials(rows: Sequence[MappedRow], encoder: ChatEncoder) -> list[Trial]:
    """What is measured with. Rows whose answer lies beyond max_length are left out, as they are in training."""
    asker = ChatEncoder(encoder.tokenizer, _UNCUT)
    trials = []
    for row in rows:
        encoded, exchange = encoder.encode_row(row), read_exchange(row)
        prompt = asker.encode_row({"prompt": exchange.asked, "tools": exchange.tools}).input_ids if exchange else []
        trial = Trial(encoded, prompt, exchange.answer if exchange else "")
        if trial.has_labels or (prompt and not encoded.cut):
            trials.append(trial)
    return trials


def mean_loss(sides: Sides, side: Side, trials: Sequence[Trial]) -> float | None:
    """Mean negative log likelihood of all labelled tokens, in nats a token; None where there are none."""
    total, tokens = 0.0, 0
    for trial in trials:
        labels = torch.tensor(trial.encoded.labels[1:], device=side.model.device)  # place t predicts token t + 1
        places = (labels != IGNORED).nonzero().flatten()  # (N)
        if len(places):
            ids = torch.tensor([trial.encoded.input_ids], device=side.model.device)  # (1, T)
            with side.turn(), torch.inference_mode():
                logits = side.model(input_ids=ids, use_cache=False, logits_to_keep=places).logits[0]  # (N, V)
            total += float(torch.nn.functional.cross_entropy(logits.float(), labels[places], reduction="sum"))
            tokens += len(places)
        sides.advance(1)
    return total / tokens if tokens else None


def ask(sides: Sides, side: Side, trials: Sequence[Trial]) -> tuple[list[str], list[str]]:
    """(answers, references) of the trials that have a prompt. Prompts of similar length share a batch."""
    asked = sorted((trial for trial in trials if trial.prompt), key=lambda trial: len(trial.prompt))
    sides.advance(len(trials) - len(asked))
    references = [trial.reference for trial in asked]
    longest = max(ChatEncoder(sides.tokenizer, _UNCUT).count_tokens(references), default=0)
    room = min(longest + max(16, longest // 4), LONGEST_ANSWER)  # as long as the longest reference and some more
    answers: list[str] = []
    for batch in (asked[start : start + ANSWERS_AT_ONCE] for start in range(0, len(asked), ANSWERS_AT_ONCE)):
        prompts = [trial.prompt for trial in batch]
        answers += write_answers(side.model, sides.tokenizer, prompts, room, side.turn)
        sides.advance(len(batch))
    return answers, references
