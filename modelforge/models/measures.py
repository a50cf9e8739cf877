"""How the sides of a comparison are measured, in one way for each method and architecture.

A measure takes the sides, numbered rows and the names of the wanted metrics, and returns an outcome for each row that
it could measure; what it could not is noted in `Sides.notes`. Rows of similar length share a batch.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from modelforge.data.encode import IGNORED, ChatEncoder, Encoded, PairEncoder
from modelforge.errors import DatasetError
from modelforge.models.generate import write_answers, write_texts
from modelforge.models.outcomes import BASE, BEFORE, Outcome, identify_row
from modelforge.models.sides import Side, Sides
from modelforge.models.spans import find_answers, score_spans, window_encoder
from modelforge.scores.metrics import METRICS, PERPLEXITY, can_compare, count_words
from modelforge.scores.rewards import check_rows, total
from modelforge.scores.titles import SHOWN
from modelforge.tasks import read_exchange
from modelforge.tasks.base import MappedRow
from modelforge.tasks.summarization import read_pair

Numbered = tuple[int, MappedRow]
"""A row and its number, from 1, in the file or the dataset."""
Measure = Callable[[Sides, Sequence[Numbered], Sequence[str]], list[Outcome]]

LONGEST_ANSWER = 512  # tokens; a model that does not know where to stop writes on to the bound
SHORT_ANSWER = 10  # words; of longer ones the same answer can be written in many ways, and none matches exactly
UNCUT = 10**9  # tokens; prompts are not cut, as in a chat


@dataclass(frozen=True)
class Trial:
    """One row to measure with. pieces: as training saw it, one but for a long text. prompt: token ids whose answer is
    the outcome's `expected`; empty where the row has no answer in text."""

    outcome: Outcome
    pieces: list[Encoded]
    prompt: list[int]


def measure_chats(sides: Sides, rows: Sequence[Numbered], wanted: Sequence[str]) -> list[Outcome]:
    """loss and perplexity, and the wanted comparisons of a decoder's answers with the expected ones, which are left out
    where no row has a prompt."""
    divide = sides.recipe.long_texts == "divide"
    trials = make_trials(rows, ChatEncoder(sides.tokenizer, sides.longest), sides.notes, divide=divide)
    measure_trials(sides, trials, wanted)
    return [trial.outcome for trial in trials]


def measure_trials(sides: Sides, trials: Sequence[Trial], wanted: Sequence[str]) -> None:
    """Add the scores of all sides to the outcomes of the trials."""
    asked = [trial for trial in trials if trial.prompt]
    learnt = [(trial.outcome, piece) for trial in trials for piece in trial.pieces if count_labels(piece)]
    learnt = learnt if {"loss", PERPLEXITY} & {*wanted} else []
    compared = choose_metrics(sides, [trial.outcome for trial in asked], wanted) if asked else []
    if trials and not asked and METRICS.keys() & {*wanted}:
        sides.notes.append("No row has a prompt, so no answers were compared.")
    room = find_room(sides, asked)
    sides.expect(len(learnt), len(asked) * bool(compared), room)
    for side in sides.each() if trials else ():
        for (outcome, _), loss in zip(learnt, sides.sum_losses(side, [piece for _, piece in learnt]), strict=True):
            so_far = outcome.scores.get(side.name, {}).get("loss", 0.0)
            note_score(outcome, side, "loss", so_far + loss / outcome.tokens)
        if compared:
            answer_chats(sides, side, asked, room)
            compare_answers(side, [trial.outcome for trial in asked], compared)


def make_trials(
    rows: Sequence[Numbered], encoder: ChatEncoder, notes: list[str], *, divide: bool = False
) -> list[Trial]:
    """What is measured with. divide: long texts are measured in pieces. Rows whose answer lies beyond max_length are
    left out, as they are in training; so are those that the chat template refuses, with a note."""
    asker = ChatEncoder(encoder.tokenizer, UNCUT)
    trials = []
    for number, row in rows:
        with leave_out(notes, number):
            pieces = encoder.encode_pieces(row) if divide and "text" in row else [encoder.encode_row(row)]
            exchange = read_exchange(row)
            prompt = asker.encode_row({"prompt": exchange.asked, "tools": exchange.tools}).input_ids if exchange else []
            tokens = sum(map(count_labels, pieces))
            if tokens or (prompt and not pieces[0].cut):
                asked = exchange.asked[-1]["content"] if exchange else ""
                expected = exchange.answer if exchange else row.get("text", "")
                outcome = Outcome(identify_row(row), number, str(asked), expected, tokens=tokens)
                trials.append(Trial(outcome, pieces, prompt))
    return trials


@contextlib.contextmanager
def leave_out(notes: list[str], number: int) -> Iterator[None]:
    """Note that a row is left out, if the chat template refuses it in the block."""
    try:
        yield
    except DatasetError as error:
        notes.append(f"Row {number} was left out: {error}")


def answer_chats(sides: Sides, side: Side, asked: Sequence[Trial], room: int) -> None:
    """Let a side answer the prompts. room: tokens of an answer, at most."""
    for batch in sides.batches(asked, lambda trial: len(trial.prompt), room):
        prompts = [trial.prompt for trial in batch]
        with side.turn():
            answers = write_answers(side.model, sides.tokenizer, prompts, room, sides.pulse)
        for trial, answer in zip(batch, answers, strict=True):
            trial.outcome.answers[side.name] = answer


def find_room(sides: Sides, asked: Sequence[Trial]) -> int:
    """Tokens of an answer: as long as the longest reference and some more."""
    references = [trial.outcome.expected for trial in asked]
    longest = max(ChatEncoder(sides.tokenizer, UNCUT).count_tokens(references), default=0)
    return min(longest + max(16, longest // 4), LONGEST_ANSWER)


def choose_metrics(sides: Sides, outcomes: Sequence[Outcome], wanted: Sequence[str]) -> list[str]:
    """The wanted metrics that compare answers with the expected ones, but for those that these rows make meaningless; a
    note says which, and of how many rows one cannot be computed."""
    chosen = []
    for name in wanted:
        if name not in METRICS:
            continue
        title, blank = SHOWN[name].title, sum(not can_compare(name, each.expected) for each in outcomes)
        if name == "exact_match" and median(count_words(each.expected) for each in outcomes) > SHORT_ANSWER:
            why = f"half of the expected answers have more than {SHORT_ANSWER} words"
            sides.notes.append(f"{title} was not measured: {why}.")
            continue
        if blank:
            counted = "every row" if blank == len(outcomes) else f"{blank} of {len(outcomes)} rows"
            sides.notes.append(f"{title} cannot be computed for {counted}: the expected answer has no words.")
        if blank < len(outcomes):
            chosen.append(name)
    return chosen


def compare_answers(side: Side, outcomes: Sequence[Outcome], metrics: Sequence[str]) -> None:
    """Score the answers of a side, row by row."""
    for outcome in outcomes:
        for name in metrics:
            if can_compare(name, outcome.expected):
                note_score(outcome, side, name, METRICS[name]([outcome.answers[side.name]], [outcome.expected]))


def measure_documents(sides: Sides, rows: Sequence[Numbered], wanted: Sequence[str]) -> list[Outcome]:
    """The wanted comparisons of the summaries that an encoder-decoder writes with the expected ones."""
    recipe = sides.recipe
    encoder = PairEncoder(sides.tokenizer, recipe.max_length, recipe.max_target_length)
    outcomes = [Outcome(identify_row(row), number, *read_pair(row)) for number, row in rows]
    sources = [(each, encoder.encode(each.prompt, each.expected).input_ids) for each in outcomes]
    compared = choose_metrics(sides, outcomes, wanted)
    room = recipe.max_target_length
    sides.expect(0, len(outcomes), room)
    for side in sides.each() if compared else ():
        for batch in sides.batches(sources, lambda each: len(each[1]), room):
            inputs = [ids for _, ids in batch]
            with side.turn():
                answers = write_texts(side.model, sides.tokenizer, inputs, room, sides.pulse)
            for (outcome, _), answer in zip(batch, answers, strict=True):
                outcome.answers[side.name] = answer
        compare_answers(side, outcomes, compared)
    return outcomes


def measure_questions(sides: Sides, rows: Sequence[Numbered], wanted: Sequence[str]) -> list[Outcome]:
    """exact_match and f1 of the answers that an encoder finds in texts, by SQuAD's normalisation."""
    asked = [
        (Outcome(identify_row(row), number, row["question"], " / ".join(row["answers"]["text"])), row)
        for number, row in rows
    ]
    sides.expect(len(asked))
    for side in sides.each():
        encoder = window_encoder(sides.tokenizer, sides.recipe, side.model.config)
        for batch in sides.batches(asked, lambda each: len(each[1]["context"]) // 4):  # characters a token, about
            with side.turn():
                spans = find_answers(
                    side.model,
                    encoder,
                    [(row["context"], row["question"]) for _, row in batch],
                    max_answer_length=sides.recipe.max_answer_length,
                    may_be_missing=sides.has_unanswerable,
                )
            for (outcome, row), span in zip(batch, spans, strict=True):
                outcome.answers[side.name] = span.text
                for name, score in score_spans([span.text], [row]).items():
                    note_score(outcome, side, name, score)
    return [outcome for outcome, _ in asked]


def measure_preferences(sides: Sides, rows: Sequence[Numbered], wanted: Sequence[str]) -> list[Outcome]:
    """preference_accuracy and reward_margin of a decoder.

    preference_accuracy: share of pairs whose better answer the model finds likelier than the worse one, each by its
    mean log likelihood a token (as in SimPO, arXiv 2405.14734), so that the sides can be compared. reward_margin: mean
    of beta times what a model adds, compared with the base model, to the log likelihood of the better answer over that
    of the worse one (the implicit reward of DPO, arXiv 2305.18290, equation 7); of the base model it is 0.
    """
    pairs = make_pairs(rows, ChatEncoder(sides.tokenizer, sides.longest), sides.notes)
    sides.expect(2 * len(pairs))
    margins: dict[str, dict[int, float]] = {}  # side -> row -> how much likelier the better answer is, in nats
    for side in sides.each() if pairs else ():
        losses = iter(sides.sum_losses(side, [encoded for _, *pair in pairs for encoded in pair]))
        for outcome, better, worse in pairs:
            of_better, of_worse = next(losses), next(losses)
            is_right = of_better / count_labels(better) < of_worse / count_labels(worse)
            note_score(outcome, side, "preference_accuracy", float(is_right))
            margins.setdefault(side.name, {})[outcome.row] = of_worse - of_better
    reference = margins.get(BASE) or margins.get(BEFORE)
    for name, values in margins.items() if reference else ():
        for outcome, *_ in pairs:
            gained = values[outcome.row] - reference[outcome.row] if reference else 0.0
            outcome.scores[name]["reward_margin"] = sides.recipe.dpo.beta * gained
    _show_preferred([outcome for outcome, *_ in pairs], rows)
    return [outcome for outcome, *_ in pairs]


def make_pairs(
    rows: Sequence[Numbered], encoder: ChatEncoder, notes: list[str]
) -> list[tuple[Outcome, Encoded, Encoded]]:
    """(outcome, better answer, worse answer) of the rows of which both can be measured."""
    pairs = []
    for number, row in rows:
        with leave_out(notes, number):
            better, worse = (
                encoder.encode_row({"prompt": row["prompt"], "chosen": row[side]}) for side in ("chosen", "rejected")
            )
            if count_labels(better) and count_labels(worse):
                prompt, expected = str(row["prompt"][-1]["content"]), _join_turns(row["chosen"])
                pairs.append((Outcome(identify_row(row), number, prompt, expected), better, worse))
    return pairs


def _show_preferred(outcomes: Sequence[Outcome], rows: Sequence[Numbered]) -> None:
    """The answer that each side prefers, as what it answered."""
    rejected = {number: _join_turns(row["rejected"]) for number, row in rows}
    for outcome in outcomes:
        for side, scores in outcome.scores.items():
            is_right = scores["preference_accuracy"] == 1
            outcome.answers[side] = outcome.expected if is_right else rejected[outcome.row]


def _join_turns(turns: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(str(turn["content"]) for turn in turns)


def measure_labels(sides: Sides, rows: Sequence[Numbered], wanted: Sequence[str]) -> list[Outcome]:
    """reward_margin of a decoder: the mean reward of the answers labelled good minus that of the bad ones; the reward
    is beta times what a model adds, compared with the base model, to an answer's log likelihood (the implied reward of
    KTO, arXiv 2402.01306, section 4). Left out where all answers have one label; of the base model it is 0.

    Each row has its share of that difference, so that the mean over all rows is the difference.
    """
    encoder = ChatEncoder(sides.tokenizer, sides.longest)
    trials: list[tuple[Outcome, Encoded, bool]] = []
    for number, row in rows:
        with leave_out(sides.notes, number):
            encoded = encoder.encode_row(row)
            if count_labels(encoded):
                prompt, answer = _join_turns(row["prompt"][-1:]), _join_turns(row["completion"])
                trials.append((Outcome(identify_row(row), number, prompt, answer), encoded, bool(row["label"])))
    counts = Counter(label for *_, label in trials)
    if trials and len(counts) < 2:
        sides.notes.append("All of these answers have the same label, so the reward margin cannot be computed.")
    sides.expect(len(trials))
    answers = [encoded for _, encoded, _ in trials]
    losses = {side.name: sides.sum_losses(side, answers) for side in (sides.each() if trials else ())}
    reference = losses.get(BASE) or losses.get(BEFORE) or []
    for name, found in losses.items() if reference and len(counts) == 2 else ():
        for (outcome, _, label), before, now in zip(trials, reference, found, strict=True):
            weight = (1 if label else -1) * len(trials) / counts[label]
            outcome.scores.setdefault(name, {})["reward_margin"] = weight * sides.recipe.kto.beta * (before - now)
    return [outcome for outcome, *_ in trials]


def measure_rewards(sides: Sides, rows: Sequence[Numbered], wanted: Sequence[str]) -> list[Outcome]:
    """mean_reward: of a decoder's likeliest answer to each prompt, by the rewards that the model was trained with.
    Raises RecipeError where a reward needs references that rows lack."""
    grpo = sides.recipe.grpo
    check_rows(grpo.rewards, [row for _, row in rows])
    encoder = ChatEncoder(sides.tokenizer, UNCUT)
    asked: list[tuple[Outcome, list[int]]] = []
    for number, row in rows:
        with leave_out(sides.notes, number):
            ids = encoder.encode_row({"prompt": row["prompt"]}).input_ids
            prompt = str(row["prompt"][-1]["content"])
            asked.append((Outcome(identify_row(row), number, prompt, row.get("reference") or ""), ids))
    room = grpo.max_completion_length
    sides.expect(0, len(asked), room)
    for side in sides.each() if asked else ():
        for batch in sides.batches(asked, lambda each: len(each[1]), room):
            prompts = [ids for _, ids in batch]
            with side.turn():
                answers = write_answers(side.model, sides.tokenizer, prompts, room, sides.pulse)
            for (outcome, _), answer in zip(batch, answers, strict=True):
                outcome.answers[side.name] = answer
                note_score(outcome, side, "mean_reward", total(grpo.rewards, answer, outcome.expected))
    return [outcome for outcome, _ in asked]


def note_score(outcome: Outcome, side: Side, metric: str, score: float) -> None:
    outcome.scores.setdefault(side.name, {})[metric] = score


def count_labels(encoded: Encoded) -> int:
    return sum(label != IGNORED for label in encoded.labels[1:])  # nothing predicts the first token


MEASURES: Mapping[tuple[str, str], Measure] = {
    ("sft", "decoder"): measure_chats,
    ("sft", "encoder-decoder"): measure_documents,
    ("sft", "encoder"): measure_questions,
    ("dpo", "decoder"): measure_preferences,
    ("kto", "decoder"): measure_labels,
    ("grpo", "decoder"): measure_rewards,
}
"""(method, architecture) -> the way to measure."""
