"""Divides a long text into pieces that fit, at the ends of paragraphs, lines, sentences or words; none of it is lost.

Each piece holds as many paragraphs or sentences as fit. A piece has the tokens that the whole text has at its place.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

# What each kind of end looks like, white space after it included, the best first.
_ENDS = (
    re.compile(r"\n[^\S\n]*\n\s*"),  # of a paragraph
    re.compile(r"\n\s*"),
    re.compile(r"[.!?…][\"'”’»)\]]*\s+|[。！？][”’」』）]*\s*"),  # noqa: RUF001 - of a sentence
    re.compile(r"\s+"),
)
_FULLEST = 0.5  # share of a piece that is filled before a better kind of end is preferred to a fuller piece


def divide_tokens(tokenizer: Any, text: str, room: int) -> list[list[int]]:
    """The text's token ids in pieces of at most `room`; the last one leaves room for one more. Joined, they are the ids
    of the whole text."""
    fast = bool(getattr(tokenizer, "is_fast", False))
    encoded = tokenizer(text, add_special_tokens=False, verbose=False, return_offsets_mapping=fast)
    ids = list(encoded["input_ids"])
    if len(ids) < room:
        return [ids]
    spans = encoded["offset_mapping"] if fast else []
    ends = _find_ends(text, spans)
    pieces, start = [], 0
    while len(ids) - start >= room:
        stop = _choose_end(ends, start, min(start + room, len(ids) - 1))
        pieces.append(ids[start:stop])
        start = stop
    return [*pieces, ids[start:]]


def _find_ends(text: str, spans: Sequence[tuple[int, int]]) -> list[list[int]]:
    """For each kind of end, the tokens before which a piece can end, in rising order; last, all that begin a
    character."""
    starts = [_skip_space(text, start) for start, _ in spans]
    kinds = [sorted(set(_find_tokens(starts, pattern, text))) for pattern in _ENDS]
    whole = [index for index in range(1, len(spans)) if spans[index][0] >= spans[index - 1][1]]
    return [*kinds, whole]


def _find_tokens(starts: Sequence[int], pattern: re.Pattern[str], text: str) -> Iterator[int]:
    """The tokens that begin where the pattern ends; white space stays with what is before it."""
    for found in pattern.finditer(text):
        index = bisect_right(starts, found.end()) - 1
        if index > 0 and starts[index] == found.end():
            yield index


def _skip_space(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def _choose_end(ends: Sequence[Sequence[int]], start: int, most: int) -> int:
    """Where a piece from `start` ends: at the latest place of the best kind in its second half, at most at `most`."""
    least = start + max(1, round((most - start) * _FULLEST))
    for places in ends:
        index = bisect_right(places, most) - 1
        if index >= bisect_left(places, least):
            return places[index]
    return most
