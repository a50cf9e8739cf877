"""Frozen linear layers that read the same input, and their adapters, as one matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from modelforge.compat.peft import adapter_weights, is_active, is_off, plain_adapter
from modelforge.compute.product import multiply

WIDEST_ADAPTERS = 0.25
"""The ranks of adapters beside each other, as a share of the input's width, up to which one product pays."""
FEW_ROWS = 512
"""Up to so many rows in 16 bits, the gradients of all B are one product, most of which nobody needs: three of 192 rows
take 189 us and one 116 (Xeon with AMX); in float32 parts are faster at all sizes."""
READ_AT_ONCE = 32
"""Numbers of a row. With AMX oneDNN's products of bfloat16 read so many, also beyond the end of a row, and multiply
what is there by 0: what was never written may be NaN (oneDNN's issue 5717; fixed after version 3.14)."""


class Place(NamedTuple):
    """Of an adapter: the rows of its layer in y, its columns in x A', and its parts of the two matrices."""

    rows: slice
    columns: slice
    a: Any
    b: Any


class JoinedProduct:
    """y = [x, x A'] [W, B]' + bias: one matrix (O, D + R) holds the frozen weights, and beside them the B of each
    adapter in the rows of its own layer.

    x (N, D), W (O, D) of all layers, A (R, D) of all adapters, times their scaling, B (O of a layer, its r). The
    layers' own weights become views of the matrix, and take no more memory.
    """

    def __init__(self, layers: Sequence[Any]) -> None:
        self.layers = list(layers)
        self.bases = [getattr(layer, "base_layer", layer) for layer in layers]
        self.names = [_adapter_name(layer) for layer in layers]
        self.adapted = [(layer, name) for layer, name in zip(layers, self.names, strict=True) if name]
        self.sizes = [getattr(base, "out_features", 0) for base in self.bases]
        self.width = getattr(self.bases[0], "in_features", 0)
        self.matrix: Any = None
        self.a: Any = None  # (R, D), in the dtype of the products
        self.places: list[Place] = []  # of the adapters
        self.adapters: list[tuple[Any, Any, float]] = []  # A, B and the scaling of each; as of the last `trained`

    @property
    def dtype(self) -> Any:
        return self.bases[0].weight.dtype

    @property
    def is_joined(self) -> bool:
        """Whether the layers can be one product."""
        biases = {base.bias is None for base in self.bases if isinstance(base, torch.nn.Linear)}
        is_plain = (
            all(type(base) is torch.nn.Linear and not base.weight.requires_grad for base in self.bases)
            and len(biases) == 1
            and None not in self.names
            and len({base.weight.dtype for base in self.bases}) == 1
        )
        return is_plain and sum(len(a) for a, _, _ in self._read()) <= WIDEST_ADAPTERS * self.width

    @property
    def is_same(self) -> bool:
        """Whether the adapters that are active are still those that it was built with."""
        return all(is_active(layer, name) for layer, name in self.adapted)

    @property
    def is_off(self) -> bool:
        """Whether the layers compute without their adapters now."""
        return any(is_off(layer) for layer, _ in self.adapted)

    def trained(self) -> list[Any]:
        """A and B of each adapter, with which `compute` computes from now on."""
        self.adapters = self._read()
        return [weight for a, b, _ in self.adapters for weight in (a, b)]

    def pack(self) -> Any:
        """The matrix. At the first call the layers' weights move into it."""
        if self.matrix is None:
            named = zip(self.layers, self.names, strict=True)
            ranks = [len(adapter_weights(layer, name)[0]) if name else 0 for layer, name in named]
            weight = self.bases[0].weight
            self.matrix = weight.new_zeros(sum(self.sizes), self.width + sum(ranks))
            self.a = weight.new_empty(sum(ranks), self.width)
            row = column = 0
            for base, size, rank in zip(self.bases, self.sizes, ranks, strict=True):
                rows, columns = slice(row, row + size), slice(column, column + rank)
                part = self.matrix[rows]
                part[:, : self.width] = base.weight.data
                base.weight.data = part[:, : self.width]
                if rank:
                    self.places.append(Place(rows, columns, self.a[columns], part[:, self.width :][:, columns]))
                row, column = row + size, column + rank
        return self.matrix

    def make_room(self, like: Any) -> tuple[Any, Any]:
        """Empty rows [x, x A'] (N, D + R), as many as of `like`, and the part of them in which x belongs."""
        room = like.new_empty(len(like), self.pack().shape[1])
        if self.width % READ_AT_ONCE:
            room[:, self.width :] = 0
        return room, room[:, : self.width]

    def compute(self, room: Any, added: Any = None) -> tuple[Any, Any]:
        """y (N, O), plus `added` (N, O), and what the adapters pass on, x A' (N, R).

        room: as `make_room` gives it, with x in its place.
        """
        x, inner = room[:, : self.width], room[:, self.width :]
        if not self.places or self.is_off:
            return self._multiply(x, added), inner[:, :0]
        for place, (a, b, scaling) in zip(self.places, self.adapters, strict=True):
            place.a.copy_(a * scaling)
            place.b.copy_(b)
        torch.mm(x, self.a.t(), out=inner)
        return self._multiply(room, added), inner.clone()

    def differentiate(
        self, grad: Any, x: Any, inner: Any, *, norm: tuple[Any, Any] | None = None, needs_input: bool = True
    ) -> tuple[Any, list[Any]]:
        """The gradients of x and of what `trained` gives, from that of y (N, O).

        norm: where x is given as it was before a norm, what that multiplied it by: rows (N, 1) and columns (D); the
        first gradient is that of x after the norm.
        """
        if not self.places:
            return (multiply(grad, self.matrix) if needs_input else None), []
        if needs_input:
            wide = multiply(grad, self.matrix)  # (N, D + R)
            grad_inner = wide[:, self.width :].contiguous()
            grad_x = torch.addmm(wide[:, : self.width], grad_inner, self.a)
        else:
            grad_x, grad_inner = None, grad @ self.matrix[:, self.width :]
        scaled = grad_inner if norm is None else torch.mul(grad_inner, norm[0]).to(x.dtype)
        grad_a = scaled.t() @ x  # (R, D)
        if norm is not None:
            grad_a = grad_a * norm[1]
        grad_a = grad_a.to(self.adapters[0][0].dtype)
        found = []
        for place, grad_b, (_, b, scaling) in zip(self.places, self._of_b(grad, inner), self.adapters, strict=True):
            found += [grad_a[place.columns].mul_(scaling), grad_b.to(b.dtype)]
        return grad_x, found

    def _of_b(self, grad: Any, inner: Any) -> list[Any]:
        """The gradient of each B, in the dtype of the products."""
        if len(grad) > FEW_ROWS or grad.dtype == torch.float32:
            return [grad[:, place.rows].t() @ inner[:, place.columns] for place in self.places]
        joined = grad.t() @ inner
        return [joined[place.rows, place.columns] for place in self.places]

    def _read(self) -> list[tuple[Any, Any, float]]:
        return [adapter_weights(layer, name) for layer, name in self.adapted]

    def _multiply(self, x: Any, added: Any) -> Any:
        biases = [base.bias for base in self.bases if base.bias is not None]
        matrix = self.matrix[:, : x.shape[1]].t()
        return multiply(x, matrix, bias=torch.cat(biases) if biases else None, added=added)


def _adapter_name(layer: Any) -> str | None:
    """The adapter's name, "" for a layer without one, None for one that does not compute as a plain adapter does."""
    return plain_adapter(layer) if hasattr(layer, "lora_A") else ""
