"""Supervised fine-tuning of encoders with a span head: where in a text the answer begins and ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments

from modelforge.compute.compute import Compute
from modelforge.data.windows import WindowEncoder
from modelforge.models.spans import find_answers, pad_windows, score_spans, window_encoder
from modelforge.recipe import Recipe
from modelforge.tasks.extractive_question_answering import has_unanswerable
from modelforge.training.arguments import common_arguments, make_trainer
from modelforge.training.batching import LengthGrouped, padding_multiple
from modelforge.training.examples import Encoding, Examples
from modelforge.training.saving import Durable

POSITIONS = ("start_positions", "end_positions")


def make_encoder(tokenizer: Any, recipe: Recipe, config: Any) -> Callable[[Mapping[str, Any]], Encoding]:
    """Questions on a text as windows with the position of the answer."""
    encoder = window_encoder(tokenizer, recipe, config)

    def encode(row: Mapping[str, Any]) -> Encoding:
        windows, cut = encoder.encode_row(row)
        features = [{**window.inputs, POSITIONS[0]: window.start, POSITIONS[1]: window.end} for window in windows]
        return Encoding(features, cut, [])

    return encode


def build_trainer(
    model: Any, tokenizer: Any, examples: Examples, *, recipe: Recipe, compute: Compute, folder: Path
) -> Any:
    """A trainer, ready to run."""
    arguments = TrainingArguments(
        **common_arguments(recipe, compute, folder, examples),
        label_names=list(POSITIONS),
        include_num_input_tokens_seen="non_padding",
    )
    if compute.gradient_checkpointing and recipe.tuning.has_adapter:
        model.enable_input_require_grads()
    padding = partial(pad_batch, tokenizer, padding_multiple(model.config))
    trainer = make_trainer(SpanTrainer, arguments, model, tokenizer, examples, recipe=recipe, data_collator=padding)
    trainer.eval_rows = list(examples.eval_rows)
    trainer.encoder = window_encoder(tokenizer, recipe, model.config)
    trainer.longest = recipe.max_answer_length
    trainer.may_be_missing = has_unanswerable(examples.train_rows)
    return trainer


def read_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """loss in nats a position, exact_match and f1, from what the trainer measured."""
    names = {"loss": "eval_loss", "exact_match": "eval_exact_match", "f1": "eval_f1"}
    return {name: metrics[key] for name, key in names.items() if key in metrics}


def pad_batch(tokenizer: Any, multiple: int, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Windows of a batch, padded to a multiple of some length.

    -> the inputs of the model (B, T), start_positions (B), end_positions (B)
    """
    windows = [{name: each[name] for name in each if name not in POSITIONS} for each in features]
    places = {name: torch.tensor([each[name] for each in features]) for name in POSITIONS}
    return {**pad_windows(tokenizer, windows, multiple), **places}


class SpanTrainer(Durable, LengthGrouped, Trainer):
    """Trainer that also answers the held-out questions in each evaluation."""

    eval_rows: list[Mapping[str, Any]]
    encoder: WindowEncoder
    longest: int
    may_be_missing: bool

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        output = super().evaluation_loop(*args, **kwargs)
        questions = [(row["context"], row["question"]) for row in self.eval_rows]
        spans = find_answers(
            self.model, self.encoder, questions, max_answer_length=self.longest, may_be_missing=self.may_be_missing
        )
        scores = score_spans([span.text for span in spans], self.eval_rows)
        output.metrics.update({f"eval_{name}": value for name, value in scores.items()})
        return output
