"""How a model and what it is compared with are measured, in one way for each method and architecture.

A measure takes the sides, mapped rows and the names of the wanted metrics, and returns how many rows it measured with
and {"tuned", "base", "before"} -> metric -> value. The sides are the tuned model, its base, and the model that its run
started from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from modelforge.data.encode import IGNORED, ChatEncoder, Encoded, PairEncoder
from modelforge.loading import window_of
from modelforge.models.chat import Playground
from modelforge.models.generate import write_answers, write_texts
from modelforge.models.spans import find_answers, score_spans, window_encoder
from modelforge.scores.metrics import METRICS, PERPLEXITY, perplexity
from modelforge.scores.rewards import check_rows, total
from modelforge.store import ModelRecord
from modelforge.tasks import read_exchange
from modelforge.tasks.base import MappedRow
from modelforge.tasks.summarization import read_pair

Measured = tuple[int, Mapping[str, Mapping[str, float]]]
Row = TypeVar("Row")

AT_ONCE = 8  # rows answered side by side
LONGEST_ANSWER = 512  # tokens; a model that does not know where to stop writes on to the bound
_UNCUT = 10**9  # tokens; prompts are not cut, as in a chat


@dataclass
class Side:
    """One of the models. Use it only inside `turn`, which switches shared weights to it."""

    name: str
    model: Any
    playground: Playground

    def turn(self) -> AbstractContextManager[None]:
        return self.playground.turn(self.model, base=self.name == "base")

    def compute_loss(self, encoded: Encoded) -> float:
        """Negative log likelihood of the labelled tokens, in nats, summed."""
        labels = torch.tensor(encoded.labels[1:], device=self.model.device)  # place t predicts token t + 1
        places = (labels != IGNORED).nonzero().flatten()  # (N)
        ids = torch.tensor([encoded.input_ids], device=self.model.device)  # (1, T)
        with self.turn(), torch.inference_mode():
            logits = self.model(input_ids=ids, use_cache=False, logits_to_keep=places).logits[0]  # (N, V)
        return float(torch.nn.functional.cross_entropy(logits.float(), labels[places], reduction="sum"))


class Sides:
    """The sides of a model, measured with the tokenizer and the recipe of that model.

    longest: tokens of a row that count, as in training. parent: the model that its run started from; None for the base
    model. watch: called with the share of the work that is done.
    """

    def __init__(
        self,
        playground: Playground,
        record: ModelRecord,
        parent: ModelRecord | None,
        watch: Callable[[float], None] | None,
    ) -> None:
        loaded, _ = playground.load(record)
        self.tokenizer = loaded.tokenizer
        self.recipe = loaded.recipe
        self.has_unanswerable = loaded.has_unanswerable
        self.longest = min(loaded.recipe.max_length, window_of(loaded.tuned.config))
        self._records = {"tuned": record, "base": record} | ({"before": parent} if parent else {})
        self._playground = playground
        self._watch = watch
        self._steps, self._done = 1, 0

    def each(self) -> Iterator[Side]:
        """The sides, one after another; each is loaded when it is reached, and freed before another model is loaded."""
        for name, record in self._records.items():
            side = Side(name, self._playground.load(record, base=name == "base")[1], self._playground)
            yield side
            side.model = None

    def expect(self, steps: int) -> None:
        """Set how many steps there will be for each side."""
        self._steps, self._done = max(steps * len(self._records), 1), 0

    def advance(self, steps: int) -> None:
        self._done += steps
        if self._watch is not None:
            self._watch(self._done / self._steps)

    def batches(self, rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
        """AT_ONCE rows at a time; each batch counts as done when the next one is taken."""
        for start in range(0, len(rows), AT_ONCE):
            batch = rows[start : start + AT_ONCE]
            yield batch
            self.advance(len(batch))


@dataclass(frozen=True)
class Trial:
    """One row to measure with. encoded: as training saw it. prompt: token ids whose answer is `reference`; empty where
    the row has no answer in text."""

    encoded: Encoded
    prompt: list[int]
    reference: str


def measure_chats(sides: Sides, rows: Sequence[MappedRow], wanted: Sequence[str]) -> Measured:
    """perplexity, and the wanted comparisons of a decoder's answers with the expected ones, which are left out where no
    row has a prompt."""
    divide = sides.recipe.long_texts == "divide"
    trials = make_trials(rows, ChatEncoder(sides.tokenizer, sides.longest), divide=divide)
    tokens = sum(_count_labels(trial.encoded) for trial in trials)
    compared = [name for name in wanted if name != PERPLEXITY]
    sides.expect(len(trials) * ((PERPLEXITY in wanted) + bool(compared)))
    found: dict[str, dict[str, float]] = {}
    for side in sides.each() if trials else ():
        measured = found.setdefault(side.name, {})
        if PERPLEXITY in wanted:
            loss = 0.0
            for trial in trials:
                loss += side.compute_loss(trial.encoded) if _count_labels(trial.encoded) else 0.0
                sides.advance(1)
            measured |= {PERPLEXITY: perplexity(loss / tokens)} if tokens else {}
        if compared:
            answers, references = ask(sides, side, trials)
            measured |= {name: METRICS[name](answers, references) for name in compared if answers}
    return len(trials), found


def make_trials(rows: Sequence[MappedRow], encoder: ChatEncoder, *, divide: bool = False) -> list[Trial]:
    """What is measured with. divide: each piece of a long text is a trial. Rows whose answer lies beyond max_length are
    left out, as they are in training."""
    asker = ChatEncoder(encoder.tokenizer, _UNCUT)
    trials = []
    for row in rows:
        if divide and "text" in row:
            trials += [Trial(piece, [], "") for piece in encoder.encode_pieces(row) if _count_labels(piece)]
            continue
        encoded, exchange = encoder.encode_row(row), read_exchange(row)
        prompt = asker.encode_row({"prompt": exchange.asked, "tools": exchange.tools}).input_ids if exchange else []
        if _count_labels(encoded) or (prompt and not encoded.cut):
            trials.append(Trial(encoded, prompt, exchange.answer if exchange else ""))
    return trials


def ask(sides: Sides, side: Side, trials: Sequence[Trial]) -> tuple[list[str], list[str]]:
    """(answers, references) of the trials that have a prompt. Prompts of similar length share a batch."""
    asked = sorted((trial for trial in trials if trial.prompt), key=lambda trial: len(trial.prompt))
    sides.advance(len(trials) - len(asked))
    references = [trial.reference for trial in asked]
    longest = max(ChatEncoder(sides.tokenizer, _UNCUT).count_tokens(references), default=0)
    room = min(longest + max(16, longest // 4), LONGEST_ANSWER)  # as long as the longest reference and some more
    answers: list[str] = []
    for batch in sides.batches(asked):
        answers += write_answers(side.model, sides.tokenizer, [trial.prompt for trial in batch], room, side.turn)
    return answers, references


def measure_documents(sides: Sides, rows: Sequence[MappedRow], wanted: Sequence[str]) -> Measured:
    """The wanted comparisons of the summaries that an encoder-decoder writes with the expected ones."""
    recipe = sides.recipe
    encoder = PairEncoder(sides.tokenizer, recipe.max_length, recipe.max_target_length)
    pairs = sorted((read_pair(row) for row in rows), key=lambda pair: len(pair[0]))
    sides.expect(len(pairs))
    found = {}
    for side in sides.each():
        answers: list[str] = []
        for batch in sides.batches(pairs):
            sources = [encoder.encode(*pair).input_ids for pair in batch]
            answers += write_texts(side.model, sides.tokenizer, sources, recipe.max_target_length, side.turn)
        references = [summary for _, summary in pairs]
        found[side.name] = {name: METRICS[name](answers, references) for name in wanted if name != PERPLEXITY}
    return len(pairs), found


def measure_questions(sides: Sides, rows: Sequence[MappedRow], wanted: Sequence[str]) -> Measured:
    """exact_match and f1 of the answers that an encoder finds in texts, by SQuAD's normalisation."""
    sides.expect(len(rows))
    found = {}
    for side in sides.each():
        encoder = window_encoder(sides.tokenizer, sides.recipe, side.model.config)
        answers: list[str] = []
        for batch in sides.batches(rows):
            spans = find_answers(
                side.model,
                encoder,
                [(row["context"], row["question"]) for row in batch],
                max_answer_length=sides.recipe.max_answer_length,
                may_be_missing=sides.has_unanswerable,
                turn=side.turn,
            )
            answers += [span.text for span in spans]
        scores = score_spans(answers, rows)
        found[side.name] = {name: scores[name] for name in wanted if name in scores}
    return len(rows), found


def measure_preferences(sides: Sides, rows: Sequence[MappedRow], wanted: Sequence[str]) -> Measured:
    """preference_accuracy and reward_margin of a decoder.

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
    margins: dict[str, list[float]] = {}  # of each pair: how much likelier the better answer is, in nats
    found = {}
    for side in sides.each() if pairs else ():
        margins[side.name], right = [], 0
        for better, worse in pairs:
            losses = side.compute_loss(better), side.compute_loss(worse)
            margins[side.name].append(losses[1] - losses[0])
            right += losses[0] / _count_labels(better) < losses[1] / _count_labels(worse)
            sides.advance(1)
        found[side.name] = {"preference_accuracy": right / len(pairs)}
    for name, values in margins.items():
        gained = sum(value - before for value, before in zip(values, margins["base"], strict=True))
        found[name]["reward_margin"] = sides.recipe.dpo.beta * gained / len(pairs)
    return len(pairs), found


def measure_labels(sides: Sides, rows: Sequence[MappedRow], wanted: Sequence[str]) -> Measured:
    """reward_margin of a decoder: the mean reward of the answers labelled good minus that of the bad ones; the reward
    is beta times what a model adds, compared with the base model, to an answer's log likelihood (the implied reward of
    KTO, arXiv 2402.01306, section 4). Left out where all answers have one label; of the base model it is 0."""
    encoder = ChatEncoder(sides.tokenizer, sides.longest)
    encoded = [(encoder.encode_row(row), row) for row in rows]
    trials = [(answer, bool(row["label"])) for answer, row in encoded if _count_labels(answer)]
    goods = sum(label for _, label in trials)
    sides.expect(len(trials))
    losses: dict[str, list[float]] = {}
    for side in sides.each() if trials else ():
        for answer, _ in trials:
            losses.setdefault(side.name, []).append(side.compute_loss(answer))
            sides.advance(1)
    found: dict[str, dict[str, float]] = {name: {} for name in losses}
    for name in losses if 0 < goods < len(trials) else ():
        means = {True: 0.0, False: 0.0}
        for (_, label), loss, base in zip(trials, losses[name], losses["base"], strict=True):
            means[label] += sides.recipe.kto.beta * (base - loss) / (goods if label else len(trials) - goods)
        found[name]["reward_margin"] = means[True] - means[False]
    return len(trials), found


def measure_rewards(sides: Sides, rows: Sequence[MappedRow], wanted: Sequence[str]) -> Measured:
    """mean_reward: of a decoder's likeliest answer to each prompt, by the rewards that the model was trained with.
    Raises RecipeError where a reward needs references that rows lack."""
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
        for batch in sides.batches(asked):
            prompts = [ids for ids, _ in batch]
            answers = write_answers(side.model, sides.tokenizer, prompts, grpo.max_completion_length, side.turn)
            earned += sum(total(grpo.rewards, answer, pair[1]) for answer, pair in zip(answers, batch, strict=True))
        found[side.name] = {"mean_reward": earned / len(asked)}
    return len(asked), found


def _count_labels(encoded: Encoded) -> int:
    return sum(label != IGNORED for label in encoded.labels[1:])  # nothing predicts the first token


MEASURES: Mapping[tuple[str, str], Callable[[Sides, Sequence[MappedRow], Sequence[str]], Measured]] = {
    ("sft", "decoder"): measure_chats,
    ("sft", "encoder-decoder"): measure_documents,
    ("sft", "encoder"): measure_questions,
    ("dpo", "decoder"): measure_preferences,
    ("kto", "decoder"): measure_labels,
    ("grpo", "decoder"): measure_rewards,
}
"""(method, architecture) -> the way to measure."""
