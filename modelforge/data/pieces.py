"""Token ids as pieces of text for the eye: where tokens begin and end, without ever showing half a character."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

Decode = Callable[[Sequence[int]], str]

_HALF_CHARACTER = "\ufffd"
_LONGEST_GROUP = 64  # tokens; a text full of real U+FFFD signs would make one group of itself
_JOINER = "\u200d"


@dataclass(frozen=True)
class Token:
    """A piece of the decoded text: one token, or the few that only together are a character as it is seen.

    trained: the model learns to write it. cut: it lies beyond max_length, with its end at least.
    """

    text: str
    trained: bool
    cut: bool


def split_tokens(ids: Sequence[int], trained: Sequence[bool], max_length: int, decode: Decode) -> list[Token]:
    """The decoded text of `ids` in pieces whose texts, joined, are the decoded whole.

    trained: as long as ids. Where a tokenizer's decoder does not work piece by piece, there is a piece for each span of
    trained or untrained ids.
    """
    whole = decode(ids)
    pieces = _join_clusters(_split(ids, trained, max_length, decode))
    if "".join(piece.text for piece in pieces) == whole:
        return pieces
    states = [(learnt, index >= max_length) for index, learnt in enumerate(trained)]
    spans = [(state, len(list(members))) for state, members in groupby(states)]
    ends = list(accumulate(length for _, length in spans))
    places = [0, *(len(decode(ids[:end])) for end in ends[:-1]), len(whole)]
    return [
        Token(whole[start:stop], *state)
        for (state, _), start, stop in zip(spans, places, places[1:], strict=False)
        if stop > start
    ]


def _split(ids: Sequence[int], trained: Sequence[bool], max_length: int, decode: Decode) -> list[Token]:
    """Decode group after group of tokens, each behind the one before: some decoders treat a text's start otherwise."""
    known: dict[tuple[int, ...], str] = {(): ""}

    def read(part: Sequence[int]) -> str:
        key = tuple(part)
        if key not in known:
            known[key] = decode(part)
        return known[key]

    found: list[Token] = []
    before: list[int] = []
    group: list[int] = []
    for index, token in enumerate(ids):
        group.append(token)
        text = read([*before, *group])[len(read(before)) :]
        last = index + 1 == len(ids) or trained[index + 1] != trained[index] or len(group) >= _LONGEST_GROUP
        if (not text or text.endswith(_HALF_CHARACTER)) and not last:
            continue
        if text:
            found.append(Token(text, trained[index], index >= max_length))
        before, group = group, []
    return found


def _join_clusters(pieces: Sequence[Token]) -> list[Token]:
    """Put what continues a character as it is seen (an accent, the rest of a family emoji) to what it continues."""
    joined: list[Token] = []
    for piece in pieces:
        if joined and joined[-1].trained == piece.trained and _continues(joined[-1].text, piece.text):
            joined[-1] = Token(joined[-1].text + piece.text, piece.trained, joined[-1].cut or piece.cut)
        else:
            joined.append(piece)
    return joined


def _continues(before: str, text: str) -> bool:
    """A short form of Unicode's rules for grapheme clusters (UAX 29)."""
    first = text[0]
    if first == _JOINER or before[-1] == _JOINER or unicodedata.category(first) in ("Mn", "Mc", "Me"):
        return True
    if _is_flag_half(first):
        return (len(before) - len(before.rstrip(_FLAG_HALVES))) % 2 == 1
    return "\U0001f3fb" <= first <= "\U0001f3ff" or "\U000e0020" <= first <= "\U000e007f"  # skin tones, tags of flags


_FLAG_HALVES = "".join(map(chr, range(0x1F1E6, 0x1F200)))


def _is_flag_half(character: str) -> bool:
    return character in _FLAG_HALVES
