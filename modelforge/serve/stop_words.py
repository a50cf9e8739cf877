"""Ends a text at the first of some words, while it is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def stop_at(pieces: Iterator[str], words: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """(piece, whether a stop word came): the text up to the first stop word, which is left out. What may be the
    beginning of one is kept back until that is known."""
    kept = ""
    for piece in pieces:
        kept += piece
        places = [place for word in words if (place := kept.find(word)) >= 0]
        if places:
            yield kept[: min(places)], True
            return
        safe = len(kept) - _count_open(kept, words)
        if safe:
            yield kept[:safe], False
            kept = kept[safe:]
    if kept:
        yield kept, False


def _count_open(text: str, words: Sequence[str]) -> int:
    """How many characters at the end of the text are the beginning of a word."""
    longest = max((len(word) for word in words), default=1) - 1
    for count in range(min(longest, len(text)), 0, -1):
        if any(word.startswith(text[-count:]) for word in words):
            return count
    return 0
