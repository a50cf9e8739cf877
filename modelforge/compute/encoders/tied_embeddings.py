"""The gradient of token embeddings whose matrix is the output matrix too, on a processor.

For each place in a model that reads the embeddings, torch fills a matrix of the size of the vocabulary, almost all
zeros, and adds it to the gradient: twice 100 MB in a T5-small. Here the rows of the tokens are added where they belong,
in the gradient that the output matrix has by then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from modelforge.compat.torch import replace_forward
from modelforge.compute.tune import unwrap


class TiedRows(torch.autograd.Function):
    """An embedding's rows at ids (...) -> (..., D).

    The backward pass adds to the weight's `grad` itself. Autograd is not told of the weight, or it would wait for its
    gradient: `tracked`, an empty tensor with a gradient, is there for the result to have one.
    """

    @staticmethod
    def forward(ctx: Any, tracked: Any, part: Any, ids: Any) -> Any:
        ctx.part, ctx.ids = part, ids
        return functional.embedding(ids, part.weight)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        weight, padding, ids = ctx.part.weight, ctx.part.padding_idx, ctx.ids.flatten()
        rows = grad.reshape(len(ids), -1).to(weight.dtype)
        if padding is not None:
            rows = rows.masked_fill((ids == padding)[:, None], 0)
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        weight.grad.index_add_(0, ids, rows)
        return None, None, None


@contextlib.contextmanager
def tied_embeddings(model: Any, device: str) -> Iterator[int]:
    """Let embeddings that share a trained output matrix compute by `TiedRows` for a while; yields how many do."""
    whole = unwrap(model)
    output = whole.get_output_embeddings() if device == "cpu" and hasattr(whole, "get_output_embeddings") else None
    shared = getattr(output, "weight", None)
    parts = [
        part
        for part in model.modules()
        if type(part) is nn.Embedding
        and part.weight is shared
        and shared.requires_grad
        and (part.max_norm, part.scale_grad_by_freq, part.sparse) == (None, False, False)
    ]
    with replace_forward({part: _tied_forward(part, part.forward) for part in parts}):
        yield len(parts)


def _tied_forward(part: Any, plain: Any) -> Callable[[Any], Any]:
    def forward(ids: Any) -> Any:
        if not torch.is_grad_enabled():
            return plain(ids)
        return TiedRows.apply(part.weight.new_empty(0).requires_grad_(), part, ids)

    return forward
