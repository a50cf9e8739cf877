"""Which rows are trained on and which are held out: derived from rows, share and seed, never stored."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from modelforge.data.checks import dump_row


def split(rows: Sequence[Mapping[str, Any]], eval_split: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices of the training rows and of the held-out rows, both rising, together all of them.

    Rows with the same prompt (but for case, space and Unicode form) go to the same side, so exact duplicates do too.
    With eval_split > 0 and two different prompts or more, at least one row is held out, and never all.
    """
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(_prompt_key(row), []).append(index)
    if eval_split <= 0 or len(groups) < 2:
        return list(range(len(rows))), []
    # Order by a hash of seed and prompt: no generator's internals, and added rows do not move the others about.
    shuffled = sorted(groups, key=lambda key: hashlib.sha256(f"{seed}\0{key}".encode()).digest())
    wanted = max(1, round(len(rows) * eval_split))
    held_out: set[int] = set()
    for key in shuffled:
        if len(held_out) + len(groups[key]) <= wanted:
            held_out.update(groups[key])
    if not held_out:  # every group is larger than what is wanted
        smallest = min(groups, key=lambda key: len(groups[key]))
        held_out.update(groups[smallest])
    return [index for index in range(len(rows)) if index not in held_out], sorted(held_out)


def _prompt_key(row: Mapping[str, Any]) -> str:
    """What the row asks, normalised; the whole row where it asks nothing."""
    asked: list[str] = []
    if "messages" in row:
        for message in row["messages"]:
            if message["role"] == "assistant":
                break
            asked.append(message["content"])
    else:
        asked = [row["context"], row["question"]]
    text = " ".join(unicodedata.normalize("NFKC", part).casefold() for part in asked)
    return " ".join(text.split()) or dump_row(dict(row))
