"""Small disks to fill and to cut off from power; making them needs more rights than tests usually have."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def mount(image: Path, place: Path) -> str:
    """Mount the image of a disk. Returns "" or why that is not possible."""
    place.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


def make_ext4(image: Path, megabytes: int) -> Path:
    """The image of an empty disk."""
    if not shutil.which("mkfs.ext4") or not shutil.which("mount"):
        pytest.skip("file systems cannot be made here")
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True, capture_output=True)
    return image


@contextlib.contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    if reason := mount(image, place):
        pytest.skip(f"file systems cannot be mounted here: {reason}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill(disk: Path, *, but_bytes: int = 0) -> Path:
    """Use up all of the disk's space, but so many bytes. Returns the file that does."""
    filler, spare = disk / "filler", disk / "spare"
    spare.write_bytes(b"x" * but_bytes)
    with filler.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size) == size:
                    pass
    spare.unlink()
    return filler
