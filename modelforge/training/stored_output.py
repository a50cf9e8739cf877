"""What frozen layers make of the rows, in a file: computed before the first step, read in every epoch.

    cache/frozen_layers/<hash>.bin      numbers (tokens, D) of all rows, the shortest row first, nothing else

The name is a hash of all that the numbers depend on: frozen weights, config, number formats, versions, and the tokens
of all rows. So a file is used only for exactly what it was made of, by a run that resumes, or the next one on the same
rows; and a few of its numbers are computed again before it is used. The same rows are always computed in the same
batches, so that a file that is made again has the same numbers.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from modelforge import paths
from modelforge.compute.decoders.frozen_layers import Cut, compute_below
from modelforge.errors import StoreError
from modelforge.models.folder import package_versions
from modelforge.planner.quick import MOST_STORED_BYTES
from modelforge.store.files import place_file
from modelforge.store.leftovers import begin_file, remove

KEPT_BYTES = 2_000_000_000
"""Of all files together, when no run uses them."""
_MOST_OF_FREE = 0.5  # of the free disk: the run's checkpoints and model need some of it too
_FORMAT = 1


def folder() -> Path:
    return paths.cache_dir() / "frozen_layers"


class Rows:
    """Distinct rows of token ids, the shortest first, and where each of them is in a file. tokens: of all."""

    def __init__(self, rows: Iterable[Sequence[int]]) -> None:
        found = {_digest(row): row for row in rows}
        ordered = sorted(found.items(), key=lambda item: (len(item[1]), item[0]))
        self.rows = [row for _, row in ordered]
        self.places: dict[bytes, int] = {}  # digest of a row -> the number of its first token
        self.tokens = 0
        for digest, row in ordered:
            self.places[digest] = self.tokens
            self.tokens += len(row)

    def find(self, row: Sequence[int]) -> int:
        """The number of its first token. Raises KeyError for a row that is not one of these."""
        place: int = self.places[_digest(row)]
        return place

    def batches(self, most_tokens: int) -> Iterator[list[Sequence[int]]]:
        """Rows one after another, padding included at most so many tokens, or one row."""
        batch: list[Sequence[int]] = []
        for row in self.rows:
            if batch and (len(batch) + 1) * len(row) > most_tokens:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch


class StoredOutput:
    """A file, open for reading. It is not mapped into memory: what is mapped counts as memory of this process."""

    def __init__(self, path: Path, rows: Rows, sample: Any) -> None:
        """sample: as of `count_bytes`."""
        self.rows = rows
        self.width, self.dtype = sample.shape[-1], sample.dtype
        self.token_bytes = self.width * sample.element_size()
        self.file = path.open("rb", buffering=0)

    def gather(self, rows: Sequence[Sequence[int]], length: int) -> Any:
        """Of a batch of rows, with zeros on the right up to a length -> (B, T, D). Raises StoreError."""
        out = torch.zeros(len(rows), length, self.width, dtype=self.dtype)
        for number, row in enumerate(rows):
            place = self.rows.find(row)
            wanted = _bytes_of(out[number, : len(row)])
            self.file.seek(place * self.token_bytes)
            if self.file.readinto(wanted) != len(wanted):
                fix = "Start the run again."
                raise StoreError("A stored row is incomplete.", where=str(self.file.name), fix=fix)
        return out

    def close(self) -> None:
        self.file.close()


def count_bytes(rows: Rows, sample: Any) -> int:
    """Of the file. sample: (B, T, D), of any of the rows."""
    return int(rows.tokens * sample.shape[-1] * sample.element_size())


def find_obstacle(needed: int) -> str:
    """Why a file of so many bytes is not written; "" if it can be."""
    if needed > MOST_STORED_BYTES:
        return f"that would take {needed / 1e9:.1f} GB of disk, more than {MOST_STORED_BYTES / 1e9:.0f} GB"
    free = shutil.disk_usage(paths.make_folder(folder())).free
    if needed > _MOST_OF_FREE * free:
        return f"that would take {needed / 1e9:.1f} GB of disk, and only {free / 1e9:.1f} GB are free"
    return ""


def name_file(cut: Cut, rows: Rows, *, computing: str) -> Path:
    """The file for these rows. computing: what the numbers depend on besides weights, config and versions."""
    whole = hashlib.sha256(f"{_FORMAT} {len(cut.lower)} {computing} {package_versions()}".encode())
    whole.update(cut.body.config.to_json_string(use_diff=False).encode())
    for name, part in sorted(cut.frozen_weights().items()):
        whole.update(f"{name} {part.dtype} {tuple(part.shape)}".encode())
        whole.update(_bytes_of(part))
    for digest in rows.places:
        whole.update(digest)
    return folder() / f"{whole.hexdigest()[:40]}.bin"


def is_stored(path: Path, needed: int) -> bool:
    """Whether the file is there, whole. If so, it counts as used now."""
    try:
        whole = path.stat().st_size == needed
    except FileNotFoundError:
        return False
    if whole:
        os.utime(path)
    return whole


def write_output(
    path: Path, cut: Cut, rows: Rows, make_batch: Callable[[list[Sequence[int]]], Any], *, most_tokens: int, watch: Any
) -> None:
    """Compute and write the file. make_batch: rows -> token ids (B, T), padded on the right. most_tokens: at once.
    watch: called with the share that is done after each batch; what it raises ends it. Raises StoreError,
    DiskFullError."""
    partial = begin_file(folder())
    try:
        done = 0
        with partial.open("wb") as file:
            for batch in rows.batches(most_tokens):
                below = compute_below(cut, make_batch(batch)).cpu()
                for row, numbers in zip(batch, below, strict=True):
                    file.write(_bytes_of(numbers[: len(row)]))
                    done += len(row)
                watch(done / rows.tokens)
        place_file(partial, path)
    except BaseException:
        remove(partial)
        raise


def make_room(most_bytes: int = KEPT_BYTES, *, kept: Path | None = None) -> None:
    """Remove the files that were used the longest time ago, until all together take at most so many bytes. kept: one
    that stays."""
    found = [(path.stat(), path) for path in folder().glob("*.bin") if path != kept]
    total = sum(status.st_size for status, _ in found)
    for status, path in sorted(found, key=lambda each: each[0].st_mtime):
        if total <= most_bytes:
            break
        remove(path)
        total -= status.st_size


def _digest(row: Sequence[int]) -> bytes:
    return hashlib.sha256(array("q", row).tobytes()).digest()


def _bytes_of(part: Any) -> Any:
    return part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


class Progress:
    """Emits `storing` events, at most one a second. leave: raises what ends the run, once Stop or Pause was pressed."""

    def __init__(self, emit: Callable[..., None], leave: Callable[[], None]) -> None:
        self.emit, self.leave = emit, leave
        self.began = self.told = time.monotonic()

    def __call__(self, share: float) -> None:
        self.leave()
        now = time.monotonic()
        if now - self.told >= 1.0:
            self.told = now
            left = round((now - self.began) * (1 - share) / share)
            self.emit("storing", share=round(share, 3), seconds_left=left)
