"""How likely labels are, and the loss of the answer tokens alone, without ever holding all logits; and for which models
they are used."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from modelforge.compute.fused import autocast_dtype
from modelforge.compute.product import multiply
from modelforge.compute.tune import unwrap

CHUNK_ROWS = 256  # rows of logits at once: 256 x 49,152 x 2 bytes = 25 MB in bfloat16
CACHED_LOGITS = 1_000_000  # 4 MB in float32 stay in the processor's cache
# Settings by which an architecture changes its logits after the output matrix; TRL's own loss knows them all.
_LOGIT_CHANGES = ("final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")


class LabelScores(torch.autograd.Function):
    """The log probability of each label by a frozen output matrix, without ever holding all logits.

    hidden (N, D) at the labelled positions, weight (V, D), labels (N) -> (N). The gradient for `hidden` is computed in
    the same pass over the logits, chunk by chunk, as in Cut Your Losses (arXiv 2411.09009) and Liger Kernel.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, labels: Any) -> Any:
        grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        scores = hidden.new_empty(len(hidden), dtype=torch.promote_types(hidden.dtype, torch.float32))
        size = _chunk_size(len(hidden))
        for start in range(0, len(hidden), size):
            rows = slice(start, start + size)
            logits = multiply(hidden[rows], weight.t())  # (C, V)
            scores[rows] = score_logits(logits, labels[rows], differentiates=grad is not None)
            if grad is not None:
                grad[rows] = multiply(logits, weight)
        if grad is not None:
            ctx.save_for_backward(grad)
        return scores

    @staticmethod
    def backward(ctx: Any, grad_scores: Any) -> Any:
        (grad,) = ctx.saved_tensors
        return grad * grad_scores[:, None].to(grad.dtype), None, None


def score_logits(logits: Any, labels: Any, *, differentiates: bool) -> Any:
    """The log probability of each label, in float32 at least: logits (N, V), which are overwritten, labels (N) -> (N).
    differentiates: the logits become the gradient of it. Few rows at a time, so that all passes over them but the first
    are in the processor's cache."""
    exact = torch.promote_types(logits.dtype, torch.float32)
    scores = logits.new_empty(len(logits), dtype=exact)
    few = max(CACHED_LOGITS // logits.shape[1], 1)
    parts = (part.split(few) for part in (logits, labels[:, None], scores))
    for low, wanted, found in zip(*parts, strict=True):
        part = low.to(exact)
        right = part.gather(1, wanted)
        highest = part.amax(1, keepdim=True)
        part.sub_(highest).exp_()
        normaliser = part.sum(1, keepdim=True)
        found.copy_((right - highest - normaliser.log())[:, 0])
        if differentiates:  # of the label: 1; of every logit: minus its share
            part.div_(normaliser).neg_()
            low.copy_(part.scatter_add_(1, wanted, torch.ones_like(right)))
    return scores


def _chunk_size(count: int) -> int:
    """Rows of logits at once, about CHUNK_ROWS, such that no chunk is nearly empty: each reads the whole matrix."""
    return math.ceil(count / max(round(count / CHUNK_ROWS), 1)) or 1


def score_labels(hidden: Any, weight: Any, labels: Any) -> Any:
    """LabelScores, inside autocast in its dtype: cast once, not for each chunk."""
    dtype = autocast_dtype(hidden) or weight.dtype
    return LabelScores.apply(hidden.to(dtype), weight.to(dtype), labels)


def answer_loss(hidden: Any, weight: Any, labels: Any) -> Any:
    """The sum of cross entropies of the labels; arguments as of `score_labels`."""
    return -score_labels(hidden, weight, labels).sum()


def has_answer_loss(model: Any, device: str) -> bool:
    """Whether training this decoder on labels uses `score_labels`: its output matrix is frozen and plain. On CUDA
    TRL's Triton kernel does the same."""
    decoder = unwrap(model)
    return device != "cuda" and is_plain_head(decoder) and not decoder.get_output_embeddings().weight.requires_grad


def is_plain_head(decoder: Any) -> bool:
    """Whether a decoder's logits are its last hidden states times a matrix, and nothing else."""
    config = decoder.config.get_text_config()
    head = decoder.get_output_embeddings()
    return (
        type(head) is torch.nn.Linear
        and head.bias is None
        and not getattr(config, "output_router_logits", False)
        and all(getattr(config, name, None) in (None, 1, 1.0) for name in _LOGIT_CHANGES)
    )


def sum_losses(model: Any, input_ids: Any, mask: Any, labels: Any) -> Any:
    """The summed cross entropy of each row's labelled tokens, without gradients (B); arguments as of `find_logits`."""
    total = torch.zeros(len(labels), device=labels.device)
    for rows, wanted, logits in find_logits(model, input_ids, mask, labels):
        total.index_add_(0, rows, cross_entropy(logits, wanted, reduction="none"))
    return total


def find_logits(model: Any, input_ids: Any, mask: Any, labels: Any) -> Iterator[tuple[Any, Any, Any]]:
    """(row, token, logits in float32) of labelled places, row by row: (N), (N), (N, V), in chunks of `CHUNK_ROWS`.

    input_ids, mask (1 on tokens, padded on the right), labels (B, T). Logits are computed at the labelled places alone,
    where the output matrix is plain.
    """
    decoder = unwrap(model)
    padding = {} if bool(mask.all()) else {"attention_mask": mask}
    answered = labels[:, 1:] != -100  # position t predicts token t + 1
    rows, wanted = answered.nonzero()[:, 0], labels[:, 1:][answered]  # (N)
    is_plain = is_plain_head(decoder)
    if is_plain:
        found = decoder.base_model(input_ids=input_ids, use_cache=False, **padding).last_hidden_state
    else:
        found = model(input_ids=input_ids, use_cache=False, **padding).logits
    parts = (part.split(CHUNK_ROWS) for part in (rows, wanted, found[:, :-1][answered]))
    for of_rows, tokens, part in zip(*parts, strict=True):
        if len(tokens):
            yield of_rows, tokens, (decoder.get_output_embeddings()(part) if is_plain else part).float()
