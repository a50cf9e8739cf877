"""The methods and tunings, and which task, method, tuning, architecture and device go together: declarations only.

Menus offer what is allowed here; a start with anything else is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modelforge.architecture import ARCHITECTURES, Architecture, add_article
from modelforge.errors import RecipeError
from modelforge.hardware import DeviceKind
from modelforge.recipe import Recipe, Task
from modelforge.tasks import SHAPES, TASKS


@dataclass(frozen=True)
class Method:
    """One training objective. files: name of an architecture -> the file in `training/methods/` that trains it."""

    title: str
    sentence: str
    files: Mapping[str, str]


METHODS = {
    "sft": Method(
        "Examples (SFT)",
        "Learns to answer like your examples.",
        {"decoder": "sft_decoder", "encoder-decoder": "sft_encoder_decoder", "encoder": "sft_encoder"},
    ),
    "dpo": Method("Preferences (DPO)", "Learns to prefer the better of two answers.", {"decoder": "dpo"}),
    "grpo": Method("Rewards (GRPO)", "Learns to write answers that earn rewards.", {"decoder": "grpo"}),
}
"""The training methods. A new one is an entry here and a file in `training/methods/` for each architecture."""


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


def check_combination(
    recipe: Recipe,
    *,
    shape: str | None = None,
    architecture: Architecture | None = None,
    device: DeviceKind | None = None,
) -> None:
    """Refuse what cannot be trained, with the reason and the nearest alternative. What is None is not checked.

    shape: of the dataset's rows. device: the kind of device that trains. Raises RecipeError.
    """
    check_method(recipe.task, recipe.method, shape)
    if architecture is not None:
        check_architecture(recipe.task, recipe.method, architecture)
    if device is not None:
        check_tuning(recipe.tuning.type, device)
    for name in ("use_dora", "use_rslora"):
        if recipe.tuning.type == "full" and getattr(recipe.tuning, name):
            raise RecipeError(
                f"{name} is an option of adapters, and full fine-tuning has no adapter.",
                where=f"setting tuning.{name}",
                fix="Set it to false, or set tuning.type to lora.",
            )


def check_method(task: Task, method: str, shape: str | None = None) -> None:
    """Refuse a method that cannot train the task, or the shape of the dataset's rows."""
    able = SHAPES[shape].methods if shape else TASKS[task].methods
    if method in able:
        return
    trained = [f"{known} for {other.title.lower()}" for other in SHAPES.values() for known in other.methods]
    what = SHAPES[shape].title.lower() if shape else task.value
    nearest = f"Use {able[0]}. " if able else ""
    raise RecipeError(
        f"{method} cannot train {what}.", where="setting method", fix=f"{nearest}Possible are: {', '.join(trained)}."
    )


def check_architecture(task: Task, method: str, architecture: Architecture) -> None:
    """Refuse an architecture that the method cannot train for the task."""
    able = architectures_of(task, method)
    if architecture.name in able:
        return
    nearest = " or ".join(f"{add_article(name)} such as {ARCHITECTURES[name].example}" for name in able)
    raise RecipeError(
        f"{method} for {task.value} cannot train {add_article(architecture.name)}, which {architecture.sentence}.",
        where="setting base_model",
        fix=f"Choose {nearest}.",
    )


def check_tuning(tuning: str, device: DeviceKind) -> None:
    """Refuse a tuning that the device does not support."""
    spec = TUNINGS[tuning]
    if device not in spec.devices:
        raise RecipeError(
            f"{spec.title} is not supported on this device: {spec.reason}.",
            where="setting tuning.type",
            fix=f"Use {spec.instead}.",
        )


def architectures_of(task: Task, method: str) -> tuple[str, ...]:
    """The architectures that a method can train for a task, the default first."""
    return tuple(name for name in TASKS[task].architectures if name in METHODS[method].files)


def tunings_of(device: DeviceKind) -> tuple[str, ...]:
    """The tunings that a device supports, the default first."""
    return tuple(name for name, spec in TUNINGS.items() if device in spec.devices)
