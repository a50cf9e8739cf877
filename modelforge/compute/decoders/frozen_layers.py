"""The layers below the lowest trained one: what they compute depends on a row's tokens alone.

This file knows where a decoder is cut, how the part below is computed alone, and how the part above continues from its
result. What is stored of it, and where, is in `training/stored_output.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from modelforge.compat.torch import replace_forward
from modelforge.compute.tune import find_layer, unwrap

SAME, SAME_16_BITS = 1e-4, 1e-2
"""How far two results of the same computation may differ, relative to the norm of a token's numbers: no more than that
is expected of any device, and dropout changes far more."""
STORED, STORED_16_BITS = 1e-4, 0.1
"""The same of a token computed alone and in another batch. In 16 bits rounding adds up: measured with the starter's 20
lower layers in bfloat16, 0.012 in the median and 0.032 at most, where another row differs by about 1."""


@dataclass(frozen=True)
class Cut:
    """Where the trained part of a decoder begins. body: the decoder without its output matrix. lower: its layers below
    the cut, in order, at least one, all frozen; upper: the others."""

    body: Any
    lower: tuple[Any, ...]
    upper: tuple[Any, ...]

    def frozen_weights(self) -> dict[str, Any]:
        """By name, all weights and buffers that the result below the cut depends on."""
        above = {id(part) for layer in self.upper for part in layer.state_dict(keep_vars=True).values()}
        named = self.body.state_dict(keep_vars=True).items()
        return {name: part for name, part in named if id(part) not in above}


def find_cut(model: Any) -> Cut | None:
    """Below the lowest trained layer of a decoder, with or without an adapter; None where that is the first layer, or
    something else than its layers is trained too."""
    decoder = unwrap(model)
    trained = {find_layer(name) for name, part in decoder.named_parameters() if part.requires_grad}
    lists = {found[0] for found in trained if found}
    if None in trained or len(lists) != 1:
        return None
    lowest = min(found[1] for found in trained if found)
    layers = tuple(decoder.get_submodule(lists.pop()))
    return Cut(decoder.base_model, layers[:lowest], layers[lowest:]) if lowest else None


def compute_below(cut: Cut, input_ids: Any) -> Any:
    """What the layers below the cut make of token ids (B, T), without gradients: (B, T, D). No other layer computes."""
    found: list[Any] = []
    kept = cut.lower[-1].register_forward_hook(lambda layer, given, output: found.append(output))
    try:
        with torch.no_grad(), replace_forward(dict.fromkeys(cut.upper, _pass_on)):
            cut.body(input_ids=input_ids, use_cache=False)
    finally:
        kept.remove()
    return found[0]


@contextlib.contextmanager
def continued(cut: Cut | None, below: Any) -> Iterator[None]:
    """Let the decoder continue from what `compute_below` gave for the same tokens; None leaves it as it is.

    Rows may be padded with any finite numbers where the decoder itself would see padding: with causal attention no
    token sees those to its right.
    """
    if cut is None or below is None:
        yield
        return
    *skipped, last = cut.lower
    with replace_forward({**dict.fromkeys(skipped, _pass_on), last: lambda *_, **__: below}):
        yield


def find_problem(cut: Cut, input_ids: Any) -> str:
    """Why this decoder cannot continue from a stored result, tried with token ids (B, T), not padded; "" if it can."""
    was_training = cut.body.training
    try:
        cut.body.train()
        trained = compute_below(cut, input_ids)
        if not isinstance(trained, torch.Tensor) or trained.dim() != 3:
            return "its layers return more than one tensor"
        cut.body.eval()
        below = compute_below(cut, input_ids)
        tolerance = SAME_16_BITS if _is_in_16_bits(below) else SAME
        if not _is_close(trained, below, tolerance):
            return "it has dropout below the layers that are trained"
        with torch.no_grad():
            whole = cut.body(input_ids=input_ids, use_cache=False).last_hidden_state
            with continued(cut, below):
                part = cut.body(input_ids=input_ids, use_cache=False).last_hidden_state
        return "" if _is_close(part, whole, tolerance) else "its layers are not called one after another"
    finally:
        cut.body.train(was_training)


def is_output(cut: Cut, input_ids: Any, below: Any) -> bool:
    """Whether (B, T, D) is what `compute_below` gives for token ids (B, T), not padded, up to rounding."""
    expected = compute_below(cut, input_ids)
    return _is_close(below, expected, STORED_16_BITS if _is_in_16_bits(expected) else STORED)


def _pass_on(hidden_states: Any, *_: Any, **__: Any) -> Any:
    return hidden_states


def _is_in_16_bits(below: Any) -> bool:
    return below.dtype != torch.float32 or bool(torch.is_autocast_enabled(below.device.type))


def _is_close(found: Any, expected: Any, tolerance: float) -> bool:
    """Whether the difference is small for every token: (B, T, D) each."""
    difference = (found.double() - expected.double()).norm(dim=-1)
    return bool((difference <= tolerance * expected.double().norm(dim=-1)).all())
