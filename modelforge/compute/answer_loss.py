"""The loss of the answer tokens alone, without ever holding all logits; and for which models it is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from modelforge.compute.label_scores import CHUNK_ROWS, score_labels
from modelforge.compute.tune import unwrap

# Settings by which an architecture changes its logits after the output matrix; TRL's own loss knows them all.
_LOGIT_CHANGES = ("final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")


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
