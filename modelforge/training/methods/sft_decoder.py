"""Supervised fine-tuning of decoders: TRL's SFTTrainer on encoded rows, with the loss of the answers alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from trl import SFTConfig, SFTTrainer

from modelforge.compat.trl import TokenCount
from modelforge.compute.answer_loss import answer_loss, has_answer_loss
from modelforge.compute.compute import Compute
from modelforge.compute.decoders.distinct_tokens import noted_batch
from modelforge.compute.tune import unwrap
from modelforge.data.encode import IGNORED, ChatEncoder
from modelforge.loading import window_of
from modelforge.recipe import Recipe
from modelforge.scores.metrics import perplexity
from modelforge.training.arguments import common_arguments, make_trainer
from modelforge.training.batching import LengthGrouped, RightPadding, TokenMeanLoss, padding_multiple
from modelforge.training.examples import Encoding, Examples, count_tokens
from modelforge.training.frozen_layers import StartsAtCut
from modelforge.training.saving import Durable

EVALUATED_TOGETHER = 4
"""Batches of the training's size that are evaluated as one. Nothing is kept for a backward pass, so it takes less
memory than a training step; and a few short rows alone take about as long as many side by side."""


def make_encoder(tokenizer: Any, recipe: Recipe, config: Any) -> Callable[[Mapping[str, Any]], Encoding]:
    """Chats and texts as input_ids and labels, cut to max_length tokens or the model's window; texts also divided."""
    encoder = ChatEncoder(tokenizer, min(recipe.max_length, window_of(config)))

    def encode(row: Mapping[str, Any]) -> Encoding:
        divided = recipe.long_texts == "divide" and "text" in row
        pieces = encoder.encode_pieces(row) if divided else [encoder.encode_row(row)]
        features = [
            {"input_ids": list(piece.input_ids), "labels": list(piece.labels)}
            for piece in pieces
            if any(label != IGNORED for label in piece.labels[1:])
        ]
        return Encoding(features, sum(piece.cut for piece in pieces), [] if divided else encoder.losses(row))

    return encode


def build_trainer(
    model: Any, tokenizer: Any, examples: Examples, *, recipe: Recipe, compute: Compute, folder: Path
) -> Any:
    """A trainer, ready to run."""
    fused = has_answer_loss(model, compute.device)
    together = EVALUATED_TOGETHER if fused else 1  # else the logits of all tokens are held
    arguments = SFTConfig(
        **{
            **common_arguments(recipe, compute, folder, examples),
            "per_device_eval_batch_size": together * recipe.per_device_train_batch_size,
            "max_length": recipe.max_length,
            "dataset_kwargs": {"skip_prepare_dataset": True},
        }
    )
    trainer = make_trainer(
        AnswerTrainer,
        arguments,
        model,
        tokenizer,
        examples,
        recipe=recipe,
        evaluation=sorted(examples.evaluation, key=count_tokens),
        data_collator=RightPadding(tokenizer.pad_token_id, padding_multiple(model.config)) if fused else None,
    )
    trainer.fused = fused
    return trainer


def read_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """loss in nats a token, and perplexity, from what the trainer measured."""
    return {"loss": metrics["eval_loss"], "perplexity": perplexity(metrics["eval_loss"])}


class AnswerTrainer(StartsAtCut, Durable, LengthGrouped, TokenMeanLoss, TokenCount, SFTTrainer):
    """SFTTrainer whose loss, when `fused`, comes from the hidden states at labelled positions alone."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if not self.fused:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss = self._fused_loss(inputs, num_items_in_batch)
        self.count_held_out(inputs, loss)
        return loss

    def _fused_loss(self, inputs: Any, num_items_in_batch: Any = None) -> Any:
        decoder, ids = unwrap(self.model), inputs["input_ids"]
        labels = torch.nn.functional.pad(inputs["labels"][:, 1:], (0, 1), value=-100)  # position t predicts token t + 1
        answered = labels != -100
        # Not the model's own forward, which is all that accelerate wraps in autocast.
        with self.accelerator.autocast(), self.continued(inputs), noted_batch(ids, inputs["lengths"], answered):
            hidden = decoder.base_model(input_ids=ids, use_cache=False).last_hidden_state
            loss = answer_loss(hidden[answered], decoder.get_output_embeddings().weight, labels[answered])
        self.add_tokens(int(inputs["lengths"].sum()))
        tokens = answered.sum() if num_items_in_batch is None else num_items_in_batch
        return loss / torch.as_tensor(tokens).clamp(min=1)
