"""What a run needs on the drives that it writes to: downloads, checkpoints, the finished model."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from modelforge import hardware, paths, starter
from modelforge.errors import DiskFullError
from modelforge.recipe import Recipe

RUN_BYTES = 200_000_000  # a small adapter, a tokenizer, a log, with room to spare
CHECKPOINTS = 2  # kept at once: the newest, and the one that is being written


@dataclass(frozen=True)
class Disk:
    """Bytes needed and free on the drive with the least room; where: a folder on it."""

    needed: int
    free: int
    where: str

    @property
    def fits(self) -> bool:
        return self.needed <= self.free


def measure_disk(*, download: int, to_hub_cache: bool, trained: int) -> Disk:
    """trained: how many numbers are trained; a checkpoint holds each with two moments, the model holds each once."""
    run = RUN_BYTES + trained * 4 * (3 * CHECKPOINTS + 1)
    home = _existing(paths.home())
    together = Disk(run + download, shutil.disk_usage(home).free, str(paths.home()))
    if not to_hub_cache or not download:
        return together
    from huggingface_hub import constants

    cache = _existing(Path(constants.HF_HUB_CACHE))
    if cache.stat().st_dev == home.stat().st_dev:
        return together
    drives = replace(together, needed=run), Disk(download, shutil.disk_usage(cache).free, str(cache))
    return min(drives, key=lambda drive: drive.free - drive.needed)


def check_disk(recipe: Recipe) -> None:
    """Refuse a start that would fill the drive of home, before anything is downloaded. Raises DiskFullError.

    Weights from the Hub go to the Hub's cache; `base_model.hub` checks that drive once their size is known.
    """
    needed = RUN_BYTES
    if recipe.base_model in starter.STARTERS and not starter.is_fetched(recipe.base_model):
        needed += starter.STARTERS[recipe.base_model].disk_bytes
    free = hardware.detect().free_disk_bytes
    if free < needed:
        raise DiskFullError(needed=needed, free=free, where=str(paths.home()))


def _existing(place: Path) -> Path:
    return next((part for part in (place, *place.parents) if part.exists()), Path.cwd())
