"""The loss of an encoder-decoder whose output matrix may be trained, from its labelled places alone.

The plain way computes the logits of padding too, and holds all logits three times: in the dtype of the product, in
float32, and as a gradient in float32. Here each few rows of logits become their own gradient while they are in the
processor's cache.

Shapes: N labelled places, D numbers of a hidden state, V tokens of the vocabulary.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn.functional import pad
from transformers.modeling_outputs import Seq2SeqLMOutput

from modelforge.compat.torch import replace_forward
from modelforge.compute.answer_loss import is_plain_head
from modelforge.compute.fused import autocast_dtype
from modelforge.compute.kernels.use import kernels_for
from modelforge.compute.product import multiply, round_up
from modelforge.compute.tune import unwrap

MODELS = ("t5", "mt5", "umt5", "longt5")
"""Kinds of model whose loss is known to be the mean cross entropy of the labels that are not -100."""


class CrossEntropies(torch.autograd.Function):
    """Of each label: hidden (N, D), weight (V, D), labels (N) -> (N)."""

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, labels: Any) -> Any:
        logits = multiply(hidden, weight.t())  # (N, V)
        scores = kernels_for(logits).score_logits(logits, labels, differentiates=True)
        ctx.save_for_backward(hidden, weight, logits)  # which are the gradients of the scores now
        return scores.neg_()

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        hidden, weight, grad_logits = ctx.saved_tensors
        scale = -grad[:, None].to(hidden.dtype)
        grad_hidden = multiply(grad_logits, weight).mul_(scale) if ctx.needs_input_grad[0] else None
        grad_weight = grad_logits.t() @ (hidden * scale) if ctx.needs_input_grad[1] else None
        return grad_hidden, grad_weight, None


def find_cross_entropies(hidden: Any, weight: Any, labels: Any) -> Any:
    """The same, inside autocast in its dtype. N is made a multiple of `ROW_MULTIPLE` meanwhile."""
    dtype = autocast_dtype(hidden) or weight.dtype
    count, added = len(labels), round_up(len(labels)) - len(labels)
    hidden, labels = pad(hidden.to(dtype), (0, 0, 0, added)), pad(labels, (0, added))
    return CrossEntropies.apply(hidden, weight.to(dtype), labels)[:count]


@contextlib.contextmanager
def fused_loss(model: Any, device: str) -> Iterator[bool]:
    """Let an encoder-decoder on a processor give its loss alone, by `CrossEntropies`, where it is given labels and has
    gradients, for a while; yields whether it does."""
    whole = unwrap(model)
    kind = getattr(getattr(whole, "config", None), "model_type", "")
    is_fused = device == "cpu" and kind in MODELS and hasattr(whole, "lm_head") and is_plain_head(whole)
    with replace_forward({whole: _loss_forward(whole, whole.forward)} if is_fused else {}):
        yield is_fused


def _loss_forward(whole: Any, plain: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(plain)  # a trainer gives what the signature names
    def forward(*args: Any, labels: Any = None, **named: Any) -> Any:
        if args or labels is None or not torch.is_grad_enabled() or named.get("return_dict") is False:
            return plain(*args, labels=labels, **named)
        if named.get("decoder_input_ids") is None:
            named["decoder_input_ids"] = whole.prepare_decoder_input_ids_from_labels(labels)
        head = whole.get_output_embeddings()
        with replace_forward({head: lambda x: x}):
            hidden = plain(**named).logits
        labelled = labels != -100
        return Seq2SeqLMOutput(loss=find_cross_entropies(hidden[labelled], head.weight, labels[labelled]).mean())

    return forward
