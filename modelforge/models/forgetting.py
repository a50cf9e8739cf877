"""What training cost: the tuned model and its base on general text and questions of our own (assets/general.yaml).

Training on a few rows can take away what a model knew besides. The rows of the user do not show it, so every decoder is
also measured on the same six short texts and twenty questions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from modelforge.data.encode import IGNORED, ChatEncoder, Encoded
from modelforge.errors import DatasetError
from modelforge.models.outcomes import BASE, BEFORE, TUNED
from modelforge.models.sides import Sides
from modelforge.paths import asset
from modelforge.scores.metrics import perplexity

FORGOT_PERPLEXITY = 1.25
"""Times that of the base from which on it is said. Measured on the starter: its default training gives 1.0 to 1.1,
a learning rate of 1e-2 more than 10."""
FORGOT_ANSWERS = 0.2  # of all questions; fewer come and go with the style of an answer
_LIKELIEST = 256  # tokens a place whose likelihoods are compared one by one; the rest as one, which is exact enough

Known = dict[str, float]
"""perplexity of the texts and answers; answered: share of the questions whose right answer is likelier than three wrong
ones; kl: divergence from the base in nats a token, 0 for the base itself."""


@dataclass(frozen=True)
class Piece:
    """A text, or a question with its right answer. right, wrong: the first tokens of the answers; wrong is empty of a
    text."""

    encoded: Encoded
    right: int = -1
    wrong: tuple[int, ...] = ()


def measure_forgetting(sides: Sides) -> dict[str, Known]:
    """{"tuned", "base"} -> what each knows; "before" where there is no base among the sides. Empty where it cannot be
    measured, which is noted in `sides.notes`. sides: of a decoder."""
    against = BASE if BASE in sides.names else BEFORE
    try:
        pieces = encode_pieces(ChatEncoder(sides.tokenizer, sides.longest))
    except DatasetError as error:
        sides.notes.append(f"What the model forgot could not be measured. {error}")
        return {}
    sides.expect(len(pieces))
    read: dict[str, Reading] = {}
    for side in sides.each(TUNED, against):
        read[side.name] = reading = Reading(iter(read[TUNED].likeliest) if TUNED in read else None)
        for batch in sides.batches(pieces, lambda piece: len(piece.encoded.input_ids)):
            side.read_logits([piece.encoded for piece in batch], sides.filler, reading.begin(batch))
    if against not in read:
        return {}
    found = {name: reading.as_known() for name, reading in read.items()}
    found[TUNED]["kl"] = read[against].drift / read[against].tokens
    return found


@dataclass
class Reading:
    """What a side makes of the pieces, chunk by chunk. other: the likeliest tokens of the side that was read before.

    loss, drift: nats, summed over tokens; drift: the divergence of the other side from this one. right: for each
    question. likeliest: of each chunk.
    """

    other: Iterator[tuple[Any, Any]] | None = None
    loss: float = 0.0
    drift: float = 0.0
    tokens: int = 0
    right: list[bool] = field(default_factory=list)
    likeliest: list[tuple[Any, Any]] = field(default_factory=list)

    def begin(self, batch: Sequence[Piece]) -> Callable[[Any, Any, Any], None]:
        """Takes the chunks of a batch: the row of each place (N), the token there (N), the logits (N, V)."""
        last = -1

        def take(rows: Any, wanted: Any, logits: Any) -> None:
            nonlocal last
            likely = logits.log_softmax(-1)
            self.loss -= float(likely.gather(1, wanted[:, None]).sum())
            self.tokens += len(wanted)
            for place, row in enumerate(rows.tolist()):
                if row != last and batch[row].wrong:
                    wrong = likely[place, list(batch[row].wrong)].max()
                    self.right.append(bool(likely[place, batch[row].right] > wrong))
                last = row
            if self.other is None:
                self.likeliest.append(keep_likeliest(likely))
            else:
                self.drift += sum_divergence(*next(self.other), likely)

        return take

    def as_known(self) -> Known:
        share = sum(self.right) / len(self.right) if self.right else 0.0
        return {"perplexity": perplexity(self.loss / self.tokens), "answered": share, "kl": 0.0}


def encode_pieces(encoder: ChatEncoder) -> list[Piece]:
    """All texts and questions, as far as the encoder's `max_length` goes. Raises DatasetError where the chat template
    refuses a question and its answer."""
    general = yaml.safe_load(asset("general.yaml").read_text(encoding="utf-8"))
    pieces = [Piece(encoder.encode_row({"text": text.strip()})) for text in general["texts"]]
    for each in general["questions"]:
        rows = [encode_answer(encoder, each["question"], text) for text in (each["answer"], *each["wrong"])]
        firsts = [find_first(row) for row in rows]
        others = tuple(first for first in firsts[1:] if first not in (firsts[0], None))
        if firsts[0] is not None and others:
            pieces.append(Piece(rows[0], firsts[0], others))
    return [piece for piece in pieces if find_first(piece.encoded) is not None]


def encode_answer(encoder: ChatEncoder, question: str, answer: str) -> Encoded:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return encoder.encode_row({"messages": messages})


def find_first(encoded: Encoded) -> int | None:
    """The first labelled token; None where the answer was cut off."""
    return next((label for label in encoded.labels[1:] if label != IGNORED), None)


def keep_likeliest(likely: Any) -> tuple[Any, Any]:
    """The log likelihoods (N, K) of the likeliest tokens, and those tokens (N, K)."""
    values, tokens = likely.topk(min(_LIKELIEST, likely.shape[-1]))
    return values, tokens


def sum_divergence(values: Any, tokens: Any, base: Any) -> float:
    """Kullback-Leibler divergence from a base, in nats, summed over N places.

    values, tokens (N, K): of `keep_likeliest`; base (N, V): its log likelihoods. All other tokens count as one, which
    makes it at most a little smaller (data processing inequality).
    """
    theirs = base.gather(1, tokens)
    rest, their_rest = ((1 - part.exp().sum(-1)).clamp(min=1e-9) for part in (values, theirs))
    return float((values.exp() * (values - theirs)).sum() + (rest * (rest / their_rest).log()).sum())


def describe_forgetting(found: Mapping[str, Known]) -> str:
    """A sentence with what helps; "" where little was forgotten, or it was not measured."""
    if not found:
        return ""
    before, after = found.get(BASE) or found[BEFORE], found[TUNED]
    grew = after["perplexity"] / before["perplexity"]
    lost = before["answered"] - after["answered"]
    if grew < FORGOT_PERPLEXITY and lost < FORGOT_ANSWERS - 1e-9 and math.isfinite(grew):
        return ""
    return (
        "It has forgotten some of what it knew: its perplexity on general text went from "
        f"{before['perplexity']:.1f} to {after['perplexity']:.1f}, its share of right answers to general questions "
        f"from {before['answered']:.0%} to {after['answered']:.0%}. A lower learning_rate, fewer epochs, a smaller r "
        "or general rows mixed into the dataset keep more."
    )


def round_known(found: Mapping[str, Known]) -> dict[str, Known]:
    """For files and JSON: six digits."""
    return {side: {name: float(f"{value:.6g}") for name, value in known.items()} for side, known in found.items()}
