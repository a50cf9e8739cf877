"""Splits rows into training and held-out rows, computed from rows, share and seed and never stored.

Duplicates, near-duplicates, rows with the same question and rows with the same context go to the same side
(`similar.group_rows`), so that held-out rows are new to the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelforge.data.fingerprints import Fingerprints, fingerprint_texts
from modelforge.data.similar import find_leaks, group_rows, hash_whole_texts
from modelforge.tasks import read_texts


def split(rows: Sequence[Mapping[str, Any]], eval_split: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices of the training rows and of the held-out rows, both in rising order, together all rows.

    With eval_split > 0 and at least two groups of similar rows, at least one row is held out, and never all.
    """
    everything = list(range(len(rows)))
    if eval_split <= 0 or len(rows) < 2:
        return everything, []
    texts = [read_texts(dict(row)) for row in rows]
    prints = hash_whole_texts(fingerprint_texts(texts), texts.__getitem__)
    groups: dict[int, list[int]] = {}
    numbers, inseparable = group_rows(prints, texts.__getitem__)
    for index, group in enumerate(numbers.tolist()):
        groups.setdefault(group, []).append(index)
    if len(groups) < 2:
        return everything, []
    held_out = _choose(groups, prints, max(1, round(len(rows) * eval_split)), seed)
    mask = np.isin(everything, list(held_out))
    # Grouping can miss a pair of similar rows; a held-out row that is still similar to a training row moves to the
    # training side.
    late = {row for row, _ in find_leaks(prints, texts.__getitem__, mask) if not inseparable[row]}
    return [index for index in everything if index in late or index not in held_out], sorted(held_out - late)


def _choose(groups: Mapping[int, list[int]], prints: Fingerprints, wanted: int, seed: int) -> set[int]:
    """Whole groups in an order drawn from seed and content, up to the wanted number of rows; at least the smallest
    group."""

    def draw(group: int) -> bytes:
        # By a hash of the content: independent of any random generator, and added rows do not move others.
        content = int(prints.asked[group] or prints.whole[group])
        return hashlib.sha256(f"{seed}\0{content}".encode()).digest()

    held_out: set[int] = set()
    for group in sorted(groups, key=draw):
        if len(held_out) + len(groups[group]) <= wanted:
            held_out.update(groups[group])
    smallest = min(groups, key=lambda group: len(groups[group]))
    return held_out or set(groups[smallest])
