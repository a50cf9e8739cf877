"""Whether a model got better: it and its base are measured on the same rows, on the same loaded weights.

It owns which rows are measured with, and what is asked. What the numbers mean is in `metrics`; which of them a task is
measured with is declared in `tasks/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from modelforge.data.checks import check
from modelforge.data.encode import IGNORED, ChatEncoder, Encoded
from modelforge.data.prepare import read_rows, refuse_errors
from modelforge.data.split import split
from modelforge.errors import DatasetError, NotFoundError, RecipeError
from modelforge.models.chat import Playground
from modelforge.models.folder import read_manifest
from modelforge.models.generate import write_answers
from modelforge.models.metrics import METRICS, PERPLEXITY, perplexity
from modelforge.recipe import Recipe
from modelforge.store import ModelRecord
from modelforge.tasks import TASKS, read_exchange
from modelforge.tasks.base import MappedRow

ANSWERS_AT_ONCE = 8
LONGEST_ANSWER = 512  # tokens; a model that does not know where to stop writes on to the bound
_UNCUT = 10**9  # tokens; prompts are asked whole, as in a chat

_OTHER_FILE = "Give a file to measure with (--data FILE)"


@dataclass(frozen=True)
class Evaluation:
    """What was measured. rows: how many were measured with. tuned, base: metric -> value, of the same metrics."""

    rows: int
    tuned: Mapping[str, float]
    base: Mapping[str, float]


@dataclass(frozen=True)
class Trial:
    """One row to measure with. encoded: as training saw it. prompt: token ids that ask for `reference`; empty where the
    row asks nothing that text can answer."""

    encoded: Encoded
    prompt: list[int]
    reference: str

    @property
    def has_labels(self) -> bool:
        return any(label != IGNORED for label in self.encoded.labels[1:])  # nothing predicts the first token


def evaluate(
    record: ModelRecord,
    playground: Playground,
    *,
    data: Path | None = None,
    limit: int | None = None,
    watch: Callable[[float], None] | None = None,
) -> Evaluation:
    """Measure a finished model and its base. See `library.Model.evaluate`."""
    if limit is not None and limit < 1:
        raise RecipeError(f"{limit} rows cannot be measured with.", where="limit", fix="It must be at least 1.")
    manifest = read_manifest(record.id)
    recipe = Recipe.build(manifest["recipe"])
    rows = read_file(data, recipe) if data else read_held_out(manifest, recipe)
    model, tokenizer = playground.load(record)
    trials = make_trials(choose_evenly(rows, limit), tokenizer, recipe.max_length)
    if not trials:
        raise DatasetError(
            f"Nothing can be measured: in every row the answer lies beyond {recipe.max_length} tokens.",
            where=str(data or record.name),
            fix=f"{_OTHER_FILE} with shorter prompts.",
        )
    wanted = TASKS[recipe.task].metrics
    steps = 2 * len(trials) * ((PERPLEXITY in wanted) + any(name != PERPLEXITY for name in wanted))
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if watch is not None:
            watch(done / steps)

    tuned, base = (
        _Side(model, tokenizer, partial(playground.turn, model, base=base), advance).measure(trials, wanted)
        for base in (False, True)
    )
    return Evaluation(len(trials), tuned, base)


def read_held_out(manifest: Mapping[str, Any], recipe: Recipe) -> list[MappedRow]:
    """The rows that the run which made a model measured with, derived as training did (`training.examples`).

    Raises DatasetError where they are no longer there, or none were held out.
    """
    dataset = manifest["dataset"]
    try:
        if recipe.eval_dataset:
            return read_rows(recipe.eval_dataset)
        rows = read_rows(dataset["id"])
    except NotFoundError as error:
        what = "The dataset that this model was measured with was deleted."
        raise DatasetError(what, where=dataset["name"], fix=f"{_OTHER_FILE}, or add its file again.") from error
    _, held_out = split(rows, recipe.eval_split, recipe.seed)
    if not held_out:
        what = "No examples were held out when this model was trained."
        raise DatasetError(what, where=dataset["name"], fix=f"{_OTHER_FILE}.")
    return [rows[index] for index in held_out]


def read_file(path: Path, recipe: Recipe) -> Sequence[MappedRow]:
    """The rows of a file, mapped for the recipe's task as a run would its eval_dataset: with the recipe's columns, if
    the file has them, and the repairs that it allows. Raises DatasetError naming row and line of the first error."""
    try:
        report = check(path, recipe.task, recipe.columns or None, repairs=recipe.repairs)
    except DatasetError:
        if not recipe.columns:
            raise
        report = check(path, recipe.task, repairs=recipe.repairs)
    refuse_errors(report)
    return report.mapped_rows


def choose_evenly(rows: Sequence[MappedRow], limit: int | None) -> list[MappedRow]:
    """At most `limit` rows, evenly spaced, in order."""
    count = len(rows) if limit is None else min(limit, len(rows))
    return [rows[index * len(rows) // count] for index in range(count)]


def make_trials(rows: Sequence[MappedRow], tokenizer: Any, max_length: int) -> list[Trial]:
    """What is measured with. Rows whose answer lies beyond max_length are left out, as they are in training."""
    encoder, asker = ChatEncoder(tokenizer, max_length), ChatEncoder(tokenizer, _UNCUT)
    trials = []
    for row in rows:
        encoded, exchange = encoder.encode_row(row), read_exchange(row)
        prompt = asker.encode_row({"prompt": exchange.asked, "tools": exchange.tools}).input_ids if exchange else []
        trial = Trial(encoded, prompt, exchange.answer if exchange else "")
        if trial.has_labels or (prompt and not encoded.cut):
            trials.append(trial)
    return trials


@dataclass(frozen=True)
class _Side:
    """The tuned model or its base: entering `turn` makes the shared weights the one or the other. advance: told of each
    batch of trials how many it were."""

    model: Any
    tokenizer: Any
    turn: Callable[[], AbstractContextManager[None]]
    advance: Callable[[int], None]

    def measure(self, trials: Sequence[Trial], wanted: Sequence[str]) -> dict[str, float]:
        """The wanted metrics; those that these rows say nothing about are left out."""
        found = {}
        if PERPLEXITY in wanted and (loss := self.mean_loss(trials)) is not None:
            found[PERPLEXITY] = perplexity(loss)
        if compared := [name for name in wanted if name != PERPLEXITY]:
            answers, references = self.ask(trials)
            found |= {name: METRICS[name](answers, references) for name in compared if answers}
        return found

    def mean_loss(self, trials: Sequence[Trial]) -> float | None:
        """Mean negative log likelihood of all labelled tokens, in nats a token; None where there are none."""
        total, tokens = 0.0, 0
        for trial in trials:
            labels = torch.tensor(trial.encoded.labels[1:], device=self.model.device)  # place t predicts token t + 1
            places = (labels != IGNORED).nonzero().flatten()  # (N)
            if len(places):
                ids = torch.tensor([trial.encoded.input_ids], device=self.model.device)  # (1, T)
                with self.turn(), torch.inference_mode():
                    logits = self.model(input_ids=ids, use_cache=False, logits_to_keep=places).logits[0]  # (N, V)
                total += float(torch.nn.functional.cross_entropy(logits.float(), labels[places], reduction="sum"))
                tokens += len(places)
            self.advance(1)
        return total / tokens if tokens else None

    def ask(self, trials: Sequence[Trial]) -> tuple[list[str], list[str]]:
        """(answers, references) of the trials that ask something, as many. Prompts of a like length share a batch."""
        asked = sorted((trial for trial in trials if trial.prompt), key=lambda trial: len(trial.prompt))
        self.advance(len(trials) - len(asked))
        references = [trial.reference for trial in asked]
        longest = max(ChatEncoder(self.tokenizer, _UNCUT).count_tokens(references), default=0)
        room = min(longest + max(16, longest // 4), LONGEST_ANSWER)  # as long as the longest reference and some more
        answers: list[str] = []
        for batch in (asked[start : start + ANSWERS_AT_ONCE] for start in range(0, len(asked), ANSWERS_AT_ONCE)):
            prompts = [trial.prompt for trial in batch]
            answers += write_answers(self.model, self.tokenizer, prompts, room, self.turn)
            self.advance(len(batch))
        return answers, references
