"""Products with large matrices of float32 on a processor, by oneDNN where torch would take the slower library.

torch gives bfloat16 to oneDNN and float32 to MKL, which multiplies a single row on one core alone, and on processors of
AMD takes a tenth longer at every size (`docs/performance.md`).
"""

from __future__ import annotations

from typing import Any

import torch

from modelforge.compat.torch import HAS_ONEDNN, onednn_product

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


def is_large(matrix: Any) -> bool:
    """Whether a matrix of any device may be one of those."""
    return HAS_ONEDNN and matrix.dtype == torch.float32 and matrix.dim() == 2 and matrix.numel() >= SMALLEST_MATRIX


def _suits_onednn(x: Any, matrix: Any) -> bool:
    """oneDNN takes a thousand times as long for a matrix that is a part of another one's columns."""
    return bool(
        is_large(matrix)
        and x.dtype == matrix.dtype
        and x.device.type == "cpu"
        and len(x)
        and (matrix.is_contiguous() or matrix.t().is_contiguous())
    )
