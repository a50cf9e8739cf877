"""Whether a run may start: refused where it cannot fit, before anything is fetched, and without a long look where it is
plain that it does."""

from __future__ import annotations

from collections.abc import Callable

from modelforge import hardware
from modelforge.planner import sources
from modelforge.planner.disk import check_disk
from modelforge.planner.limits import check_limits
from modelforge.planner.plan import check, plan, reckon_roughly
from modelforge.recipe import Recipe

PLAIN = 0.4  # share of the free memory below which a rough figure, wrong by half, is good enough


def admit(recipe: Recipe, longest: Callable[[], int]) -> None:
    """Refuse a recipe that this machine cannot train. longest: tokens of the longest row, looked up only where it
    decides. Raises RecipeError, DiskFullError or MemoryFullError."""
    here = hardware.detect()
    check_limits(recipe, here)
    check_disk(recipe)
    probe = hardware.probe()
    config = sources.look_up(recipe).config
    if config is None:  # asked again when its turn has come
        return
    need = reckon_roughly(recipe, config, probe)
    if need.total > PLAIN * here.free_bytes(probe.kind) and not plan(recipe, advise=False).fits:
        check(recipe, longest=longest())
