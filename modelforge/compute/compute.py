"""How one run computes, decided once: `decide.py` makes it, the planner predicts for it, the run trains by it."""

from __future__ import annotations

from dataclasses import dataclass

from modelforge.hardware import DeviceKind


@dataclass(frozen=True)
class Compute:
    """How a run computes.

    dtype: what products are computed in (a torch dtype's name). weights: what the base model's weights are kept in;
    trained weights are always float32, and autocast then computes in dtype. quantised: frozen weights are packed into
    4 bits. reasons: a sentence on each decision, for people.
    """

    device: DeviceKind
    dtype: str
    gradient_checkpointing: bool
    reasons: tuple[str, ...]
    weights: str = "float32"
    quantised: bool = False
    attention: str = "sdpa"
    optimizer: str = "adamw_torch"
    workers: int = 0
