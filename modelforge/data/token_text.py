"""Splits decoded text into tokens for display, without ever showing half a character."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, groupby

# A dependency of transformers; `re` does not know grapheme clusters.
import regex  # type: ignore[import-untyped]

Decode = Callable[[Sequence[int]], str]

_HALF_CHARACTER = "\ufffd"
_LONGEST_GROUP = 64  # tokens; a text of real U+FFFD characters would be one group
_CLUSTER = regex.compile(r"\X")


@dataclass(frozen=True)
class Token:
    """The text of one token, or of several that together form one visible character.

    trained: it has a loss. cut: it ends beyond max_length.
    """

    text: str
    trained: bool
    cut: bool


def split_tokens(ids: Sequence[int], trained: Sequence[bool], max_length: int, decode: Decode) -> list[Token]:
    """The decoded text of `ids`, split so that the joined texts are the whole.

    trained: one for each id. If the tokenizer cannot decode tokens separately, there is one item for each span of
    trained or untrained ids.
    """
    whole = decode(ids)
    tokens = _join_clusters(_split(ids, trained, max_length, decode))
    if "".join(token.text for token in tokens) == whole:
        return tokens
    states = [(is_trained, index >= max_length) for index, is_trained in enumerate(trained)]
    spans = [(state, len(list(members))) for state, members in groupby(states)]
    ends = list(accumulate(length for _, length in spans))
    places = [0, *(len(decode(ids[:end])) for end in ends[:-1]), len(whole)]
    return [
        Token(whole[start:stop], *state)
        for (state, _), start, stop in zip(spans, places, places[1:], strict=False)
        if stop > start
    ]


def _split(ids: Sequence[int], trained: Sequence[bool], max_length: int, decode: Decode) -> list[Token]:
    """Decode each group after the previous one, since some decoders treat the start of a text differently."""
    read = cache(decode)
    found: list[Token] = []
    before: list[int] = []
    group: list[int] = []
    for index, token in enumerate(ids):
        group.append(token)
        text = read((*before, *group))[len(read(tuple(before))) :]
        last = index + 1 == len(ids) or trained[index + 1] != trained[index] or len(group) >= _LONGEST_GROUP
        if (not text or text.endswith(_HALF_CHARACTER)) and not last:
            continue
        if text:
            found.append(Token(text, trained[index], index >= max_length))
        before, group = group, []
    return found


def _join_clusters(tokens: Sequence[Token]) -> list[Token]:
    """Join what continues a visible character (an accent, the rest of a family emoji) with its start."""
    joined: list[Token] = []
    for token in tokens:
        if joined and joined[-1].trained == token.trained and _continues(joined[-1].text, token.text):
            joined[-1] = Token(joined[-1].text + token.text, token.trained, joined[-1].cut or token.cut)
        else:
            joined.append(token)
    return joined


def _continues(before: str, text: str) -> bool:
    """Whether no visible character ends between them: a grapheme cluster of Unicode (UAX 29)."""
    return len(_CLUSTER.findall(before + text)) < len(_CLUSTER.findall(before)) + len(_CLUSTER.findall(text))
