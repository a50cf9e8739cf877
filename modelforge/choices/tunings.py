"""The tunings: which weights move, and on which devices."""

from __future__ import annotations

from dataclasses import dataclass

from modelforge.hardware import DeviceKind


@dataclass(frozen=True)
class TuningSpec:
    """One tuning. devices: those that support it. reason: why the others do not. instead: the alternative."""

    title: str
    sentence: str
    devices: tuple[DeviceKind, ...] = ("cuda", "mps", "cpu")
    reason: str = ""
    instead: str = ""


TUNINGS = {
    "lora": TuningSpec("LoRA", "Trains small added matrices; the base model stays as it is. Good for most datasets."),
    "qlora": TuningSpec(
        "QLoRA",
        "LoRA with the base model in 4 bits: a third of the memory, somewhat slower.",
        devices=("cuda", "cpu"),
        reason="bitsandbytes quantizes weights to 4 bits on NVIDIA GPUs and CPUs, not on Apple GPUs",
        instead="lora",
    ),
    "full": TuningSpec(
        "Full fine-tuning", "Trains every weight: four times the memory of LoRA, and a full-size model."
    ),
}


def tunings_of(device: DeviceKind) -> tuple[str, ...]:
    """The tunings that a device supports, the default first."""
    return tuple(name for name, spec in TUNINGS.items() if device in spec.devices)
