"""What to change so that a recipe fits, the least harmful first: computed to fit, or what usually helps."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from modelforge import catalog
from modelforge.choices.tunings import tunings_of
from modelforge.errors import ModelForgeError
from modelforge.hardware import DeviceKind, describe_bytes
from modelforge.planner.estimate import TIGHT, Advice, Machine, Plan, Rows, estimate
from modelforge.recipe import Recipe

MOST = 4  # pieces of advice; more would not help
_SHORTEST = 128  # tokens; below this most rows lose their answers
LESS_MEMORY = "Lower per_device_train_batch_size or max_length, or switch gradient_checkpointing on."
"""What to do about a run that ran out of memory, in one sentence."""

Change = tuple[dict[str, Any], str]
"""Settings, and what they do and cost, in words without a full stop."""


def advise(made: Plan, machine: Machine, rows: Rows) -> tuple[Advice, ...]:
    """Changes that each make the recipe fit; if none does, as many of them together as necessary."""
    found: list[Advice] = []
    together: dict[str, Any] = {}
    words: list[str] = []
    checkpoints = bool(made.compute and made.compute.gradient_checkpointing)
    for settings, sentence in _list_changes(made.recipe, machine.probe.kind, checkpoints=checkpoints):
        if advice := _try(made, machine, rows, settings, f"{sentence}."):
            found.append(advice)
        elif not found and "base_model" not in settings:
            together |= settings
            words.append(sentence)
            if len(words) > 1 and (advice := _try(made, machine, rows, together, f"{'; '.join(words)}.")):
                found.append(advice)
        if len(found) == MOST:
            break
    return tuple(found)


def list_usual_changes(recipe: Recipe) -> tuple[Change, ...]:
    """What usually lowers memory, not computed: the first step of each change that keeps model and tuning."""
    checkpoints = recipe.gradient_checkpointing == "on"
    ways = _halve_batch(recipe), _switch_checkpointing(checkpoints=checkpoints), _halve_length(recipe)
    return tuple((settings, f"{sentence}.") for way in ways for settings, sentence in islice(way, 1))


def _list_changes(recipe: Recipe, kind: DeviceKind, *, checkpoints: bool) -> Iterator[Change]:
    """The least harmful first."""
    yield from _switch_checkpointing(checkpoints=checkpoints)
    yield from _halve_batch(recipe)
    if recipe.tuning.type == "full":
        yield {"tuning.type": "lora"}, "Train an adapter (LoRA) instead of every weight: learns a little less"
    if recipe.tuning.type != "qlora" and "qlora" in tunings_of(kind) and kind == "cuda":
        yield {"tuning.type": "qlora"}, "Pack the base model into 4 bits (QLoRA): almost as good, slower"
    yield from _halve_length(recipe)
    listed = catalog.find(recipe.base_model)
    if listed:
        smaller = [
            each
            for each in catalog.entries()
            if each.parameters < listed.parameters
            and recipe.task in each.tasks
            and each.architecture == listed.architecture
        ]
        for entry in sorted(smaller, key=lambda each: -each.parameters):
            yield {"base_model": entry.id}, f"Start from {entry.id}: a smaller model, which knows less"


def _switch_checkpointing(*, checkpoints: bool) -> Iterator[Change]:
    if not checkpoints:
        yield {"gradient_checkpointing": "on"}, "Switch gradient checkpointing on: the same result, a third slower"


def _halve_batch(recipe: Recipe) -> Iterator[Change]:
    """Smaller batches, with at least as many examples a step."""
    batch, accumulated = recipe.per_device_train_batch_size, recipe.gradient_accumulation_steps
    while batch > 1:
        accumulated *= -(-batch // (batch // 2))  # 3 for a batch of 3
        batch //= 2
        if batch == 1 and recipe.method == "kto" and recipe.kto.loss_type == "kto":
            return  # it compares the answers of a batch
        yield (
            {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulated},
            f"Use batches of {batch} and accumulate {accumulated} of them: the same result, somewhat slower",
        )


def _halve_length(recipe: Recipe) -> Iterator[Change]:
    length, divided = recipe.max_length, "; plain texts are divided" * (recipe.long_texts == "divide")
    while length // 2 >= _SHORTEST:
        length //= 2
        yield {"max_length": length}, f"Cut examples at {length} tokens: longer ones lose their end{divided}"


def _try(made: Plan, machine: Machine, rows: Rows, settings: dict[str, Any], sentence: str) -> Advice | None:
    try:
        changed = estimate(made.recipe.with_settings(settings), machine, rows)
    except ModelForgeError:
        return None
    if not made.memory or not changed.memory or not changed.disk.fits:
        return None
    needed = changed.memory.total <= (TIGHT if made.verdict == "tight" else 1) * changed.memory.available
    saves = made.memory.total - changed.memory.total
    if not needed or saves <= 0:
        return None
    return Advice(dict(settings), f"{sentence} It then takes about {describe_bytes(changed.memory.total)}.", saves)
