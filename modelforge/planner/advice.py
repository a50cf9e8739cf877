"""What to change so that a recipe fits: the least harmful first, each reckoned again before it is said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modelforge import catalog
from modelforge.choices.combinations import tunings_of
from modelforge.errors import ModelForgeError
from modelforge.hardware import describe_bytes
from modelforge.planner.estimate import TIGHT, Advice, Machine, Plan, Rows, estimate

MOST = 4  # pieces of advice; more is no advice
_SHORTEST = 128  # tokens; below this most rows lose their answers


def advise(made: Plan, machine: Machine, rows: Rows) -> tuple[Advice, ...]:
    """Changes each of which makes the recipe fit by itself; where none does, as many of them together as it takes."""
    found: list[Advice] = []
    together: dict[str, Any] = {}
    words: list[str] = []
    for settings, sentence in _candidates(made, machine):
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


def _candidates(made: Plan, machine: Machine) -> Iterator[tuple[dict[str, Any], str]]:
    """(settings, what they do and cost), the least harmful first."""
    recipe = made.recipe
    if made.compute and not made.compute.gradient_checkpointing:
        yield {"gradient_checkpointing": "on"}, "Switch gradient checkpointing on: the same result, a third slower"
    batch, accumulated = recipe.per_device_train_batch_size, recipe.gradient_accumulation_steps
    while batch > 1 and batch % 2 == 0:
        batch, accumulated = batch // 2, accumulated * 2
        yield (
            {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulated},
            f"Work on {batch} at once and add up {accumulated} batches: the same result, somewhat slower",
        )
    able = tunings_of(machine.probe.kind)
    if recipe.tuning.type == "full":
        yield {"tuning.type": "lora"}, "Train an adapter (LoRA) instead of every weight: learns a little less"
    if recipe.tuning.type != "qlora" and "qlora" in able and machine.probe.kind == "cuda":
        yield {"tuning.type": "qlora"}, "Pack the base model into 4 bits (QLoRA): nearly as good, slower"
    length = recipe.max_length
    while length // 2 >= _SHORTEST:
        length //= 2
        yield {"max_length": length}, f"Cut examples at {length} tokens: longer ones lose their end"
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
