"""The largest settings allowed on each tier of hardware. They catch mistakes; whether a run fits in memory is computed
by `estimate`."""

from __future__ import annotations

from collections.abc import Mapping

from modelforge.errors import RecipeError
from modelforge.hardware import Hardware, Tier
from modelforge.recipe import Recipe

LIMITS: Mapping[Tier, Mapping[str, int]] = {
    "low": {"per_device_train_batch_size": 64, "max_length": 8192, "tuning.r": 128, "grpo.num_generations": 16},
    "mid": {"per_device_train_batch_size": 256, "max_length": 32_768, "tuning.r": 256, "grpo.num_generations": 32},
    "high": {"per_device_train_batch_size": 1024, "max_length": 131_072, "tuning.r": 512, "grpo.num_generations": 64},
}
"""Tier -> setting -> the largest value, included."""


def limits_of(tier: Tier) -> Mapping[str, int]:
    """Setting -> the largest value allowed on that tier."""
    return LIMITS[tier]


def check_limits(recipe: Recipe, hardware: Hardware) -> None:
    """Refuse a setting above the limit of this tier. Raises RecipeError with the setting, its value and the limit."""
    for name, bound in limits_of(hardware.tier).items():
        value = read_setting(recipe, name)
        if value > bound:
            raise RecipeError(
                f"{value} is too large for this machine (tier {hardware.tier}).",
                where=f"setting {name}",
                fix=f"It must be at most {bound} here. Use {bound}.",
            )


def read_setting(recipe: Recipe, name: str) -> int:
    """The value of a setting by its full name, such as tuning.r."""
    found: object = recipe
    for part in name.split("."):
        found = getattr(found, part)
    assert isinstance(found, int)  # noqa: S101 - every setting in the table is a count
    return found
