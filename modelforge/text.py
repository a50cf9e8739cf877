"""Searches and normal forms for texts of users and models: their time grows with the length of the text, no faster, and
other threads run meanwhile.

`re` and `unicodedata` keep the interpreter to themselves for a whole call: meanwhile the app would answer nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Literal

# A dependency of transformers; `re` does not know which characters are marks.
import regex  # type: ignore[import-untyped]

PIECE = 20_000
"""Characters that are searched in one call, which takes a few milliseconds."""
OVERLAP = 1_000
"""Characters that pieces have in common: a longer match is cut where the text is, or missed."""

_MOST_MARKS = 30
_MANY_MARKS = regex.compile(rf"(\p{{M}}{{{_MOST_MARKS}}})\p{{M}}+")
_SHORT = 500  # characters; sorting so many marks takes 0.3 milliseconds


def find_matches(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Like `pattern.finditer`, piece by piece."""
    start = 0
    while True:
        end = start + PIECE
        is_last = end >= len(text)
        begun = end - OVERLAP  # what begins later is left to the next piece
        for match in pattern.finditer(text, start, end):
            if match.start() >= begun and not is_last:
                break
            yield match
            start = match.end()
        if is_last:
            return
        start = max(start, begun)


def find_all(pattern: re.Pattern[str], text: str) -> list[str]:
    """Like `pattern.findall` for a pattern without groups, piece by piece."""
    return pattern.findall(text) if len(text) <= PIECE else [match.group() for match in find_matches(pattern, text)]


def normalize(form: Literal["NFC", "NFKC"], text: str) -> str:
    """The text in a normal form of Unicode, without marks beyond 30 upon one letter.

    `unicodedata` sorts the marks of a letter in quadratic time: 300,000 of them take two minutes. No language has more
    than 30 (https://unicode.org/reports/tr15, Stream-Safe Text Format).
    """
    return unicodedata.normalize(form, text if len(text) <= _SHORT else _MANY_MARKS.sub(r"\1", text))
