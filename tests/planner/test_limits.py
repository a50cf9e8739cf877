"""Limits by tier, at the limit and one above; what is offered by default is within them everywhere."""

from __future__ import annotations

import pytest

from modelforge.errors import RecipeError
from modelforge.goals import goals
from modelforge.hardware import GIB, Device, Hardware, Tier
from modelforge.planner.plan import LIMITS, check_limits
from modelforge.recipe import Recipe, bounds, fields

MEMORY: dict[Tier, int] = {"low": 6, "mid": 12, "high": 80}
REWARDED = {"method": "grpo", "grpo": {"rewards": [{"type": "length", "characters": 100}]}}


def machine(tier: Tier) -> Hardware:
    card = Device("cuda", "a card", MEMORY[tier] * GIB, GIB)
    found = Hardware((card, Device("cpu", "a processor", GIB, GIB)), "Linux", 4, GIB, GIB, GIB, GIB)
    assert found.tier == tier
    return found


@pytest.mark.parametrize("name", LIMITS["low"])
@pytest.mark.parametrize("tier", LIMITS)
def test_audit_03_limits_hold_at_the_limit_and_one_above(tier: Tier, name: str) -> None:
    bound = LIMITS[tier][name]
    check_limits(Recipe().with_settings({name: bound}), machine(tier))
    if bound + 1 > bounds(fields()[name])["le"]:
        with pytest.raises(RecipeError, match=f"at most {bound}"):
            Recipe().with_settings({name: bound + 1})
        return
    with pytest.raises(RecipeError) as caught:
        check_limits(Recipe().with_settings({name: bound + 1}), machine(tier))
    assert caught.value.where == f"setting {name}"
    assert str(bound + 1) in caught.value.what and tier in caught.value.what
    assert f"at most {bound} " in caught.value.fix


@pytest.mark.parametrize("tier", LIMITS)
def test_audit_03_every_default_and_goal_passes_on_every_tier(tier: Tier) -> None:
    check_limits(Recipe(), machine(tier))
    for goal in goals().values():
        check_limits(Recipe().with_settings(goal.propose(100)), machine(tier))


def test_limits_grow_with_the_tier() -> None:
    for name in LIMITS["low"]:
        values = [LIMITS[tier][name] for tier in ("low", "mid", "high")]
        assert values == sorted(values)
        assert values[-1] <= bounds(fields()[name])["le"]
