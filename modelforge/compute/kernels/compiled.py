"""The kernels of `plain.py` by a library that `build.py` made of `kernels.cpp`, for one number format on a processor.

What a function says is in `plain.py`. Where a tensor is not as the library wants it, the plain one computes.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch

from modelforge.compat.torch import FakeTensor
from modelforge.compute.kernels import plain
from modelforge.compute.product import round_up

LANES = 16
"""How many numbers `kernels.cpp` takes at once."""
_POINTER, _COUNT, _FLAG = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "normalise": (_POINTER, _COUNT, _POINTER, _POINTER, _COUNT, _POINTER, _COUNT, _COUNT, ctypes.c_float),
    "add_norm_gradient": (
        _POINTER, _COUNT, _POINTER, _POINTER, _POINTER, _COUNT, _POINTER, _COUNT, _POINTER, _COUNT, _COUNT,
    ),
    "open_gate": (_POINTER, _POINTER, _COUNT, _COUNT, _COUNT),
    "gate_gradient": (_POINTER, _COUNT, _POINTER, _POINTER, _COUNT, _COUNT),
    "turn_heads": (*(_POINTER,) * 7, *(_COUNT,) * 4, _FLAG),
    "add_rows": (*(_POINTER,) * 3, *(_COUNT,) * 2),
    "weigh": (_POINTER, _POINTER, *(_COUNT,) * 5),
    "find_totals": (_POINTER, _POINTER, _COUNT, _COUNT, _POINTER, _POINTER),
    "score": (_POINTER, _COUNT, _COUNT, _POINTER, _POINTER, _FLAG),
}  # fmt: skip
"""Of each function in `kernels.cpp`, but for the number of threads, which comes last."""


class CompiledKernels:
    """dtype: torch's, of all numbers that the library takes. name: says which build of it this is."""

    def __init__(self, library: Path, dtype: Any, name: str) -> None:
        self.dtype, self.name = dtype, name
        loaded = ctypes.CDLL(str(library))
        self._functions = {each: getattr(loaded, each) for each in _ARGUMENTS}
        for each, function in self._functions.items():
            function.argtypes, function.restype = (*_ARGUMENTS[each], _FLAG), None

    def suits(self, *tensors: Any) -> bool:
        """Whether they are in memory, in this number format, with each row in one piece."""
        return all(
            each.dtype == self.dtype
            and each.device.type == "cpu"
            and not isinstance(each, FakeTensor)
            and each.stride(-1) == 1
            for each in tensors
        )

    def normalise(self, norm: Any, rows: Any, out: Any) -> Any:
        weight = norm.weight
        if not self.suits(rows, weight, out):
            return plain.normalise(norm, rows, out)
        scale = rows.new_empty(len(rows), 1, dtype=torch.float32)
        of_rows, of_out = (rows, rows.stride(0)), (out, out.stride(0))
        self._call("normalise", *of_rows, weight, *of_out, scale, *rows.shape, norm.variance_epsilon)
        return scale

    def add_norm_gradient(self, norm: tuple[Any, Any], grad: Any, rows: Any, passed: Any) -> Any:
        scale, weight = norm
        if not self.suits(grad, rows, passed, weight):
            return plain.add_norm_gradient(norm, grad, rows, passed)
        found = rows.new_empty(rows.shape)
        of_rows, of_grad, of_passed = ((each, each.stride(0)) for each in (rows, grad, passed))
        self._call("add_norm_gradient", *of_rows, weight, scale, *of_grad, *of_passed, found, *rows.shape)
        return found

    def open_gate(self, gate_up: Any, out: Any) -> Any:
        if not (self.suits(gate_up, out) and gate_up.is_contiguous()):
            return plain.open_gate(gate_up, out)
        self._call("open_gate", gate_up, out, out.stride(0), *out.shape)
        return None

    def gate_gradient(self, grad: Any, gate_up: Any, opened: Any) -> Any:
        if not (opened is None and self.suits(grad)):
            return plain.gate_gradient(grad, gate_up, opened)
        found = torch.empty_like(gate_up)
        self._call("gate_gradient", grad, grad.stride(0), gate_up, found, *grad.shape)
        return found

    def turn_heads(
        self, heads: Any, index: Any, turns: plain.Turns, counts: tuple[int, int], *, back: bool = False
    ) -> Any:
        of_q, of_k = turns
        given = (heads, *of_q, *of_k)
        if not (self.suits(*given) and all(each.is_contiguous() for each in given)):  # one position may be shared
            return plain.turn_heads(heads, index, turns, counts, back=back)
        size = of_q[0].shape[-1]
        found = heads.new_empty(len(index), size)
        self._call("turn_heads", heads, index, *of_q, *of_k, found, len(index), *counts, size, back)
        return found

    def add_rows(self, matrix: Any, to: Any, rows: Any) -> None:
        if not (self.suits(matrix) and matrix.is_contiguous()):
            return plain.add_rows(matrix, to, rows)
        self._call("add_rows", matrix, to, rows, len(to), matrix.shape[1])
        return None

    def weigh(self, scores: Any, start: int, groups: int) -> Any:
        if not (self.suits(scores) and scores.is_contiguous()):
            return plain.weigh(scores, start, groups)
        heads, rows, keys = scores.shape
        room = _make_room(scores, round_up(keys, LANES))
        self._call("weigh", scores, room, heads, rows // groups, groups, keys, start)
        return scores

    def find_totals(self, logits: Any) -> tuple[Any, Any]:
        if not (self.suits(logits) and logits.is_contiguous()):
            return plain.find_totals(logits)
        totals = logits.new_empty(len(logits), 1, dtype=torch.float32)
        likeliest = logits.new_empty(logits.shape[1], dtype=torch.float32)
        room = _make_room(logits, logits.shape[1])
        self._call("find_totals", logits, room, *logits.shape, totals, likeliest)
        return totals, likeliest

    def score_logits(self, logits: Any, labels: Any, *, differentiates: bool) -> Any:
        is_label = len(labels) == 0 or 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]
        if not (is_label and self.suits(logits) and logits.is_contiguous()):
            return plain.score_logits(logits, labels, differentiates=differentiates)
        scores = logits.new_empty(len(logits), dtype=torch.float32)
        self._call("score", logits, *logits.shape, labels.contiguous(), scores, differentiates)
        return scores

    def _call(self, name: str, *arguments: Any) -> None:
        """Call a function of the library: tensors by where they are in memory."""
        given = (each.data_ptr() if isinstance(each, torch.Tensor) else each for each in arguments)
        self._functions[name](*given, torch.get_num_threads())


def _make_room(like: Any, width: int) -> Any:
    """Room for each thread to compute in, in float32."""
    return like.new_empty(torch.get_num_threads(), width, dtype=torch.float32)
