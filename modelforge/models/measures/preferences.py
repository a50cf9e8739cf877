"""Measures how a decoder sees pairs of a better and a worse answer."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from modelforge.data.encode import IGNORED, ChatEncoder, Encoded
from modelforge.models.measures.sides import Measured, Side, Sides
from modelforge.tasks.base import MappedRow


def measure(sides: Sides, rows: Sequence[MappedRow], wanted: Sequence[str]) -> Measured:
    """preference_accuracy and reward_margin.

    preference_accuracy: share of pairs whose better answer the model finds likelier than the worse one, each by its
    mean log likelihood a token (as in SimPO, arXiv 2405.14734), so that the sides can be compared. reward_margin: mean
    of beta times what a model adds, compared with the base model, to the log likelihood of the better answer over that
    of the worse one (the implicit reward of DPO, arXiv 2305.18290, equation 7); of the base model it is 0.
    """
    encoder = ChatEncoder(sides.tokenizer, sides.longest)
    pairs = [
        [encoder.encode_row({"prompt": row["prompt"], "chosen": row[side]}) for side in ("chosen", "rejected")]
        for row in rows
    ]
    pairs = [pair for pair in pairs if all(_count_labels(encoded) for encoded in pair)]
    sides.expect(len(pairs))
    sums, found = {}, {}
    for side in sides.each() if pairs else ():
        likelihoods = []  # of each pair: (better, worse), each (sum of log likelihoods, tokens)
        for pair in pairs:
            likelihoods.append([(_log_likelihood(side, encoded), _count_labels(encoded)) for encoded in pair])
            sides.advance(1)
        sums[side.name] = [better[0] - worse[0] for better, worse in likelihoods]
        right = sum(better[0] / better[1] > worse[0] / worse[1] for better, worse in likelihoods)
        found[side.name] = {"preference_accuracy": right / len(pairs)}
    for name, values in sums.items():
        gained = sum(value - before for value, before in zip(values, sums["base"], strict=True))
        found[name]["reward_margin"] = sides.recipe.dpo.beta * gained / len(pairs)
    return len(pairs), found


def _count_labels(encoded: Encoded) -> int:
    return sum(label != IGNORED for label in encoded.labels[1:])


def _log_likelihood(side: Side, encoded: Encoded) -> float:
    """Sum over the labelled tokens, in nats."""
    labels = torch.tensor(encoded.labels[1:], device=side.model.device)  # place t predicts token t + 1
    places = (labels != IGNORED).nonzero().flatten()  # (N)
    ids = torch.tensor([encoded.input_ids], device=side.model.device)  # (1, T)
    with side.turn(), torch.inference_mode():
        logits = side.model(input_ids=ids, use_cache=False, logits_to_keep=places).logits[0]  # (N, V)
    return -float(torch.nn.functional.cross_entropy(logits.float(), labels[places], reduction="sum"))
