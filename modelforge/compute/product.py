"""Products with large matrices of float32 on a processor, by oneDNN where torch would take the slower library.

torch gives bfloat16 to oneDNN and float32 to MKL, which on processors of AMD multiplies a single row on one core alone,
and takes a tenth longer at every size; on those of Intel MKL is the faster one (`docs/performance.md`).
"""

from __future__ import annotations

from typing import Any

import torch

from modelforge import hardware
from modelforge.compat.torch import HAS_ONEDNN, onednn_product

USES_ONEDNN = HAS_ONEDNN and not (torch.backends.mkl.is_available() and "intel" in hardware.processor_name().lower())
ROW_MULTIPLE = 32
"""Rows of a training step's products are made a multiple of it. oneDNN compiles each shape of product when it first
comes, on a processor with AMX for 2 to 40 ms: with rows of any number that was a seventh of a step of the starter with
rows as alpaca's, and a fifth with rows of 50 tokens."""
SMALLEST_MATRIX = 50_000
"""Numbers in a matrix from which oneDNN's longer start pays: it takes 15 microseconds, as reading so many does."""


def multiply(x: Any, matrix: Any, *, bias: Any = None, added: Any = None) -> Any:
    """x (N, I), matrix (I, O), bias (O), added (N, O) -> x matrix + bias + added (N, O), without gradients.

    matrix: may be the transpose of what is in memory.
    """
    if _suits_onednn(x, matrix):
        found = onednn_product(x, matrix.t(), bias)
        return found if added is None else found.add_(added)
    if added is not None:
        return torch.addmm(added if bias is None else added + bias, x, matrix)
    return x @ matrix if bias is None else torch.addmm(bias, x, matrix)


def round_up(count: int, multiple: int = ROW_MULTIPLE) -> int:
    """The next multiple."""
    return -(-count // multiple) * multiple


def is_large(matrix: Any) -> bool:
    """Whether a matrix of any device may be one of those."""
    return USES_ONEDNN and matrix.dtype == torch.float32 and matrix.dim() == 2 and matrix.numel() >= SMALLEST_MATRIX


def _suits_onednn(x: Any, matrix: Any) -> bool:
    """oneDNN takes a thousand times as long for a matrix that is a part of another one's columns."""
    return bool(
        is_large(matrix)
        and x.dtype == matrix.dtype
        and x.device.type == "cpu"
        and len(x)
        and (matrix.is_contiguous() or matrix.t().is_contiguous())
    )
