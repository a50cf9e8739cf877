"""Which kernels compute here and now."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from modelforge.compute.kernels import plain
from modelforge.compute.kernels.compiled import CompiledKernels

_USED: ContextVar[CompiledKernels | None] = ContextVar("kernels", default=None)


@contextlib.contextmanager
def using(kernels: CompiledKernels | None) -> Iterator[None]:
    """Let this thread compute with compiled kernels for a while, where a tensor suits them; None: with torch's."""
    token = _USED.set(kernels)
    try:
        yield
    finally:
        _USED.reset(token)


def used_kernels() -> CompiledKernels | None:
    """The compiled kernels of this thread."""
    return _USED.get()


def name_kernels(kernels: CompiledKernels | None) -> str:
    """Which build of them computes; "" if none does."""
    return kernels.name if kernels else ""


def kernels_for(x: Any) -> Any:
    """The kernels for what is computed from x: `plain`, or others with the same functions."""
    compiled = _USED.get()
    return compiled if compiled and compiled.suits(x) else plain
