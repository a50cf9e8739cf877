"""The forward pass of one training step of each method: `simulation` runs it with fake tensors to count bytes, and
`calibration` with real ones to measure time. Only its cost matters, so all tokens are the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch

from modelforge.architecture import DECODER, ENCODER, Architecture
from modelforge.compat.torch import FakeTensor
from modelforge.compute.answer_loss import answer_loss, has_answer_loss
from modelforge.compute.compute import Compute
from modelforge.compute.fused import autocast_dtype
from modelforge.compute.label_scores import CHUNK_ROWS
from modelforge.compute.tune import unwrap
from modelforge.planner.duration import FORWARDS, SEQUENCES
from modelforge.recipe import Recipe


def prepare(model: Any, architecture: Architecture, recipe: Recipe, compute: Compute) -> Callable[[int, int], Any]:
    """A function of rows and length that gives the loss of so many examples, all of full length: (rows x sequences,
    length) token ids. The model is changed as its trainer changes it."""
    device = next(model.parameters()).device
    if architecture is DECODER and not _is_fused(model, recipe, compute):
        from trl.trainer.utils import add_fused_lm_head

        add_fused_lm_head(unwrap(model), outputs=("log_probs", "entropy", "is_top1"))

    def compute_loss(rows: int, length: int) -> Any:
        sequences = rows * SEQUENCES[recipe.method]
        ids = torch.zeros(sequences, length, dtype=torch.long, device=device)
        with _autocast(compute, device.type):
            if architecture is ENCODER:
                answers = torch.zeros(sequences, dtype=torch.long, device=device)
                return model(input_ids=ids, start_positions=answers, end_positions=answers).loss
            if architecture is not DECODER:
                target = torch.zeros(sequences, recipe.max_target_length, dtype=torch.long, device=device)
                return model(input_ids=ids, labels=target, use_cache=False).loss
            return _decoder_loss(model, recipe, compute, ids)

    return compute_loss


def _decoder_loss(model: Any, recipe: Recipe, compute: Compute, ids: Any) -> Any:
    decoder, is_fused = unwrap(model), _is_fused(model, recipe, compute)

    def score() -> Any:
        if not is_fused:
            return decoder(input_ids=ids, labels=ids, fused_lm_head=True).log_probs.sum()
        hidden = decoder.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        labels = ids[:, 1:].reshape(-1)
        return _answer_loss(hidden.reshape(len(labels), -1), decoder.get_output_embeddings().weight, labels)

    with torch.no_grad():  # the same sequences, through the reference model
        for _ in range(FORWARDS.get(recipe.method, 0)):
            score()
    return score()


def _answer_loss(hidden: Any, weight: Any, labels: Any) -> Any:
    """As in training. Of fake tensors only two chunks: each reuses the memory of the one before, and counting thousands
    of them takes minutes."""
    if not isinstance(hidden, FakeTensor):
        return answer_loss(hidden, weight, labels)
    hidden = hidden.to(autocast_dtype(hidden) or weight.dtype)
    few = slice(0, 2 * CHUNK_ROWS)
    loss = answer_loss(hidden[few].detach().requires_grad_(), weight, labels[few])
    return _WholeGradient.apply(hidden, loss)


class _WholeGradient(torch.autograd.Function):
    """The memory that LabelScores hold until the backward pass: the gradient of all positions."""

    @staticmethod
    def forward(ctx: Any, hidden: Any, loss: Any) -> Any:
        ctx.save_for_backward(torch.empty_like(hidden))
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return ctx.saved_tensors[0] * grad, None


def _is_fused(model: Any, recipe: Recipe, compute: Compute) -> bool:
    return recipe.method != "grpo" and has_answer_loss(model, compute.device)


def _autocast(compute: Compute, kind: str) -> Any:
    if compute.dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(kind, getattr(torch, compute.dtype))
