"""The tunings, declared: which weights move, and on which devices that can be done."""

from __future__ import annotations

from dataclasses import dataclass

from modelforge.hardware import DeviceKind


@dataclass(frozen=True)
class TuningSpec:
    """One way of tuning. devices: those that can do it. reason: why the others cannot. instead: the nearest thing."""

    name: str
    title: str
    sentence: str
    devices: tuple[DeviceKind, ...] = ("cuda", "mps", "cpu")
    reason: str = ""
    instead: str = ""


TUNINGS: dict[str, TuningSpec] = {
    tuning.name: tuning
    for tuning in (
        TuningSpec("lora", "LoRA", "Adds small matrices and leaves the base model as it is: sound for most."),
        TuningSpec(
            "qlora",
            "QLoRA",
            "As LoRA, with the base model packed into 4 bits: a third of the memory, somewhat slower.",
            devices=("cuda", "cpu"),
            reason="bitsandbytes packs weights into 4 bits on NVIDIA cards and processors, not on Apple GPUs",
            instead="lora",
        ),
        TuningSpec(
            "full", "Full fine-tuning", "Trains every weight: four times the memory of LoRA, and the model grows whole."
        ),
    )
}
