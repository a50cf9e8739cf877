"""The tunings: which weights are trained, and which devices support it."""

from __future__ import annotations

from dataclasses import dataclass

from modelforge.hardware import DeviceKind


@dataclass(frozen=True)
class TuningSpec:
    """One tuning. devices: those that support it. reason: why the others do not. instead: the alternative."""

    name: str
    title: str
    sentence: str
    devices: tuple[DeviceKind, ...] = ("cuda", "mps", "cpu")
    reason: str = ""
    instead: str = ""


TUNINGS: dict[str, TuningSpec] = {
    tuning.name: tuning
    for tuning in (
        TuningSpec(
            "lora", "LoRA", "Trains small added matrices; the base model stays as it is. Good for most datasets."
        ),
        TuningSpec(
            "qlora",
            "QLoRA",
            "LoRA with the base model in 4 bits: a third of the memory, somewhat slower.",
            devices=("cuda", "cpu"),
            reason="bitsandbytes quantizes weights to 4 bits on NVIDIA GPUs and CPUs, not on Apple GPUs",
            instead="lora",
        ),
        TuningSpec(
            "full",
            "Full fine-tuning",
            "Trains every weight: four times the memory of LoRA, and a full-size model.",
        ),
    )
}
