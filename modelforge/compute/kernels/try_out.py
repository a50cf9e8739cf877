"""Tries out a library of kernels that was just built: run as a module with its path and number format, it ends with an
error where the library finds something else than torch, or brings an OpenMP of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from modelforge.compute.kernels import plain
from modelforge.compute.kernels.compiled import CompiledKernels

FARTHEST = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
"""How far a result may be from torch's in float64, as a share of its norm."""


def find_distances(kernels: Any, dtype: Any) -> dict[str, float]:
    """Of each kernel, how far its results in a number format are from those of `plain` in float64, as a share of their
    norm."""
    found: dict[str, list[Any]] = {}
    exact = _compute(plain, dtype, torch.float64)
    for (name, result), (_, right) in zip(_compute(kernels, dtype, dtype), exact, strict=True):
        found.setdefault(name, []).append((result.double() - right.double()).norm() / right.double().norm())
    return {name: float(torch.stack(distances).max()) for name, distances in found.items()}  # NaN, if one is


def _compute(kernels: Any, given: Any, dtype: Any) -> Iterator[tuple[str, Any]]:
    """What each kernel finds in dtype, from numbers that `given` can hold; no size is a multiple of a vector."""
    draw = torch.Generator().manual_seed(0)

    def make(*shape: int, times: float = 1.0) -> Any:
        return (times * torch.randn(*shape, generator=draw)).to(given).to(dtype)

    count, width = 37, 75
    rows, grad, passed, out = (make(count, width + 5)[:, :width] for _ in range(4))
    norm = SimpleNamespace(weight=make(width), variance_epsilon=1e-5)
    scale = kernels.normalise(norm, rows, out)
    yield from (("normalise", scale), ("normalise", out.clone()))
    yield "add_norm_gradient", kernels.add_norm_gradient((scale, norm.weight), grad.clone(), rows, passed)

    gate_up = make(count, 2 * width)
    opened = kernels.open_gate(gate_up, out)
    yield from (("open_gate", out), ("gate_gradient", kernels.gate_gradient(grad.clone(), gate_up, opened)))

    counts, size = (4, 2), 6
    heads = make(count, (4 + 2 * 2) * size)
    index = torch.randperm(heads.numel() // size, generator=draw)
    of_q, of_k = (tuple(make(count, 1, size) for _ in range(2)) for _ in range(2))
    for back in (False, True):
        yield "turn_heads", kernels.turn_heads(heads, index, (of_q, of_k), counts, back=back)
    matrix, order = make(count, width), torch.randperm(count, generator=draw)
    kernels.add_rows(matrix, order[:12], order[12:24])
    yield "add_rows", matrix
    for start, queries in ((0, 21), (19, 23)):
        yield "weigh", kernels.weigh(make(3, queries * 2, start + queries), start, 2)

    logits, labels = make(count, 1003, times=3), torch.randint(1003, (count,), generator=draw)
    yield from (("find_totals", each) for each in kernels.find_totals(logits.clone()))
    yield "score_logits", kernels.score_logits(logits.clone(), labels, differentiates=False)
    yield from (("score_logits", kernels.score_logits(logits, labels, differentiates=True)), ("score_logits", logits))


def _list_openmp() -> set[str]:
    """The libraries of OpenMP that this process has loaded."""
    places = (line.split()[-1] for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines())
    return {place for place in places if Path(place).name.startswith(("libgomp", "libomp", "libiomp"))}


def main(library: str, name: str) -> None:
    dtype, before = getattr(torch, name), _list_openmp()
    distances = find_distances(CompiledKernels(Path(library), dtype, name=""), dtype)
    wrong = [f"{each} is off by {far:.1g}" for each, far in distances.items() if not far <= FARTHEST[dtype]]
    if more := _list_openmp() - before:
        wrong.append(f"it loads an OpenMP beside torch's: {', '.join(more)}")
    if wrong:
        sys.exit("; ".join(wrong))


if __name__ == "__main__":
    main(*sys.argv[1:])
