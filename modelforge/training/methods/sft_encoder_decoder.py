"""Supervised fine-tuning of encoder-decoders: the encoder reads the document, the labels are its summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

from modelforge.compute.compute import Compute
from modelforge.data.encode import PairEncoder
from modelforge.loading import window_of
from modelforge.models.generate import write_texts
from modelforge.recipe import Recipe
from modelforge.scores.metrics import METRICS, perplexity
from modelforge.tasks.summarization import read_pair
from modelforge.training.arguments import common_arguments, make_trainer
from modelforge.training.batching import LengthGrouped, TokenMeanLoss, padding_multiple
from modelforge.training.examples import Encoding, Examples, count_tokens
from modelforge.training.saving import Durable

WRITTEN = 16  # held-out documents that are summarised at every evaluation


def make_encoder(tokenizer: Any, recipe: Recipe, config: Any) -> Callable[[Mapping[str, Any]], Encoding]:
    """Documents as input_ids, summaries as labels."""
    window = window_of(config)
    encoder = PairEncoder(tokenizer, min(recipe.max_length, window), min(recipe.max_target_length, window))

    def encode(row: Mapping[str, Any]) -> Encoding:
        document, summary = read_pair(dict(row))
        pair = encoder.encode(document, summary)
        feature = {"input_ids": pair.input_ids, "labels": pair.labels}
        return Encoding([feature], pair.cut, encoder.losses(document, summary))

    return encode


def build_trainer(
    model: Any, tokenizer: Any, examples: Examples, *, recipe: Recipe, compute: Compute, folder: Path
) -> Any:
    """A trainer, ready to run."""
    arguments = Seq2SeqTrainingArguments(
        **common_arguments(recipe, compute, folder, examples), include_num_input_tokens_seen="non_padding"
    )
    if compute.gradient_checkpointing and recipe.tuning.has_adapter:
        model.enable_input_require_grads()
    trainer = make_trainer(
        SummaryTrainer,
        arguments,
        model,
        tokenizer,
        examples,
        recipe=recipe,
        evaluation=sorted(examples.evaluation, key=count_tokens),
        # with the model, the collator makes the decoder's inputs of the labels
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model, pad_to_multiple_of=padding_multiple(model.config)),
    )
    trainer.written = [read_pair(dict(row)) for row in examples.eval_rows[:WRITTEN]]
    trainer.limits = (recipe.max_length, recipe.max_target_length)
    return trainer


def read_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """loss in nats a token, perplexity, and rougeL of the written summaries, from what the trainer measured."""
    found = {"loss": metrics["eval_loss"], "perplexity": perplexity(metrics["eval_loss"])}
    return found | ({"rougeL": metrics["eval_rougeL"]} if "eval_rougeL" in metrics else {})


class SummaryTrainer(Durable, LengthGrouped, TokenMeanLoss, Seq2SeqTrainer):
    """Seq2SeqTrainer that also summarises some held-out documents in each evaluation."""

    label_shift = 0
    written: list[tuple[str, str]]
    limits: tuple[int, int]

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        output = super().evaluation_loop(*args, **kwargs)
        if self.written:
            encoder = PairEncoder(self.processing_class, *self.limits)
            documents = [encoder.encode(*pair).input_ids for pair in self.written]
            answers = write_texts(self.model, self.processing_class, documents, self.limits[1])
            output.metrics["eval_rougeL"] = METRICS["rougeL"](answers, [summary for _, summary in self.written])
        return output
