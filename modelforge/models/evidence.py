"""What the recommendation of a baseline rests on: which answers are the expected ones, and whether the data makes sense
to the base model."""

from __future__ import annotations

from collections.abc import Sequence

from modelforge.data.encode import ChatEncoder
from modelforge.errors import DatasetError
from modelforge.models.measures import UNCUT, Numbered, Trial, count_labels
from modelforge.models.outcomes import TUNED, Outcome
from modelforge.models.sides import Sides
from modelforge.recipe import Recipe
from modelforge.scores.metrics import METRICS, count_words
from modelforge.scores.need import Tried
from modelforge.scores.rewards import find_highest
from modelforge.tasks import read_exchange
from modelforge.tasks.base import Exchange

ZERO = "zero_shot"
FEW = TUNED
"""The side with examples is the one that the other is compared with, so that rows are shown as of a verdict."""
_DEEDS = {"dpo": "prefers the better answer", "grpo": "earns the highest reward"}
_FEWEST_WORDS = 4  # of an answer that says more than a label
_ALIKE = 0.9  # ROUGE-L of a long answer that is the expected one but for a word


def measure_fit(sides: Sides, trials: Sequence[Trial], rows: Sequence[Numbered]) -> list[float]:
    """Of each row, by how many nats a token its expected answer is likelier after its own question than after that of
    the next row. Only of answers of several words, which are not the next row's."""
    exchanges = {number: read_exchange(row) for number, row in rows}
    encoder = ChatEncoder(sides.tokenizer, UNCUT)
    pairs = []
    for trial, other in zip(trials, [*trials[1:], *trials[:1]], strict=True):
        own, theirs = exchanges[trial.outcome.row], exchanges[other.outcome.row]
        known = trial.outcome.scores.get(ZERO, {}).get("loss")
        if not own or not theirs or known is None or trial.pieces[0].cut or own.answer == theirs.answer:
            continue
        if count_words(own.answer) < _FEWEST_WORDS or trial.outcome.prompt == other.outcome.prompt:
            continue
        try:
            swapped = encoder.encode_row(
                {"prompt": theirs.asked, "chosen": [{"role": "assistant", "content": own.answer}]}
            )
        except DatasetError:
            continue
        if count_labels(swapped) == trial.outcome.tokens and len(swapped.input_ids) <= sides.longest:
            pairs.append((trial.outcome, swapped))
    sides.expect(len(pairs))
    return [
        loss / outcome.tokens - outcome.scores[ZERO]["loss"]
        for side in (sides.each() if pairs else ())
        for (outcome, _), loss in zip(pairs, sides.sum_losses(side, [encoded for _, encoded in pairs]), strict=True)
    ]


def measure_prompts(sides: Sides, trials: Sequence[Trial]) -> list[float]:
    """Nats a byte of the prompts in ASCII as plain text: how well the base model reads this kind of text at all."""
    encoder = ChatEncoder(sides.tokenizer, sides.longest)
    texts = [trial.outcome.prompt for trial in trials]
    wordy = [text for text in texts if count_words(text) >= _FEWEST_WORDS and text.isascii()]
    encoded = [(len(text), row) for text in wordy if not (row := encoder.encode_row({"text": text})).cut]
    sides.expect(len(encoded))
    return [
        loss / size
        for side in (sides.each() if encoded else ())
        for (size, _), loss in zip(encoded, sides.sum_losses(side, [row for _, row in encoded]), strict=True)
    ]


def collect(outcomes: Sequence[Outcome], rows: Sequence[Numbered], recipe: Recipe) -> Tried:
    """What the recommendation rests on."""
    exchanges = ((number, read_exchange(row)) for number, row in rows)
    with_one_answer = {number for number, each in exchanges if each and not _is_longer_chat(each)}
    likelier, random = [], []
    asked = [each for each in outcomes if ZERO in each.answers]
    for each in asked:
        losses = [each.scores[side]["loss"] for side in (ZERO, FEW) if "loss" in each.scores.get(side, {})]
        if len(losses) == 2:
            likelier.append(losses[0] - losses[1])
        is_text = count_words(each.expected) >= _FEWEST_WORDS and each.expected.isascii()
        if losses and is_text and each.row in with_one_answer:
            random.append(min(losses) * each.tokens / len(each.expected))
    return Tried(
        _list_right(outcomes, recipe, ZERO),
        _list_right(outcomes, recipe, FEW),
        words=[count_words(each.expected) for each in asked],
        alike=[METRICS["rougeL"]([each.answers.get(FEW, each.answers[ZERO])], [each.expected]) for each in asked],
        likelier=likelier,
        random=random,
        does=_DEEDS.get(recipe.method, Tried.does),
    )


def _is_longer_chat(exchange: Exchange) -> bool:
    return any(turn["role"] == "assistant" for turn in exchange.asked)


def _list_right(outcomes: Sequence[Outcome], recipe: Recipe, side: str) -> list[bool]:
    found = (is_expected(each, recipe, side) for each in outcomes)
    return [right for right in found if right is not None]


def is_expected(outcome: Outcome, recipe: Recipe, side: str) -> bool | None:
    """Whether the answer is the expected one: but for white space and a full stop, or, of a long one, a word in ten. By
    the method's own measure where that is right or wrong. None where there is no answer."""
    scores = outcome.scores.get(side, {})
    for name, highest in (
        ("preference_accuracy", 1.0), ("mean_reward", find_highest(recipe.grpo.rewards)), ("f1", 1.0)
    ):  # fmt: skip
        if name in scores:
            return scores[name] >= highest - 1e-6
    if side not in outcome.answers:
        return None
    answer, expected = (" ".join(text.split()).rstrip(".!") for text in (outcome.answers[side], outcome.expected))
    is_long = count_words(expected) >= 10
    return answer == expected or (is_long and METRICS["rougeL"]([answer], [expected]) >= _ALIKE)
