"""What a recipe needs on this machine, before it starts. For now: disk."""

from __future__ import annotations

from modelforge import hardware, paths, starter
from modelforge.errors import DiskFullError
from modelforge.recipe import Recipe

RUN_BYTES = 200_000_000  # an adapter, a tokenizer, a log, with room to spare


def check_disk(recipe: Recipe) -> None:
    """Refuse a start that would fill the drive that home is on, before anything is downloaded. Raises DiskFullError.

    Weights from the Hub go to the Hub's own cache and are checked there, once their size is known.
    """
    needed = RUN_BYTES
    if recipe.base_model in starter.STARTERS and not starter.is_fetched(recipe.base_model):
        needed += starter.STARTERS[recipe.base_model].disk_bytes
    free = hardware.detect().free_disk_bytes
    if free < needed:
        raise DiskFullError(needed=needed, free=free, where=str(paths.home()))
