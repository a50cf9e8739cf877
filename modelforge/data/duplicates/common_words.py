"""The share of words that two texts have in common: of one pair, or of thousands at once with the same result.

Words are runs of letters, digits and underscores, and single other characters; each counts as often as it occurs. What
follows from a share is decided in `similar`.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelforge.data.duplicates.text_buffers import Places, normalise, write_words
from modelforge.data.duplicates.word_hashes import REST, SIGN, SPACE, WORD, Hashes, count_from, find_words, hash_words
from modelforge.text import find_all

LEAST_SHARE = 0.88
"""Smaller shares are given as 0: no caller needs them."""
MOST_PAIRS = 1 << 12
"""Of one call of `share_words_of_pairs`."""

_WORD = re.compile(r"\w+|[^\w\s]")
_HASH_BITS = 51  # what is left of 64 bits beside the number of a pair and its side
_LETTERS = 32
_STEPS = 4  # words that occur more often in both texts are few
_CHARACTERS = 0x40000  # all letters, digits and spaces of Unicode come before


def share_words(one: str, other: str) -> float:
    """The number of common words over the words of the longer text, from 0 to 1."""
    left, right = find_all(_WORD, normalise(one)), find_all(_WORD, normalise(other))
    longer = max(len(left), len(right))
    if not longer or min(len(left), len(right)) < LEAST_SHARE * longer:
        return 0.0
    share = (Counter(left) & Counter(right)).total() / longer
    return share if share >= LEAST_SHARE else 0.0


def share_words_of_pairs(texts: Any, left: Places, right: Places, enough: float = 1.0) -> NDArray[np.float64]:
    """`share_words` of pairs of texts, given an array of strings and the indices of each pair in it. Shares of `enough`
    and more may be too low, but not below `enough`."""
    buffer, offsets = write_words(texts)
    starts, lengths = find_words(_find_kinds(buffer))
    first, counts = count_from(starts, offsets)
    longer = np.maximum(counts[left], counts[right])
    letters = _count_first_letters(np.frombuffer(buffer, np.uint8)[starts], counts)
    near = np.flatnonzero((longer > 0) & (np.minimum(counts[left], counts[right]) >= LEAST_SHARE * longer))
    near = near[_bound_common(letters, left[near], right[near]) >= LEAST_SHARE * longer[near]]
    shares = np.zeros(len(left))
    if len(near):
        some, places = np.unique(np.concatenate((left[near], right[near])), return_inverse=True)
        chosen = _list_words(first[some], counts[some])
        words = hash_words(buffer, starts[chosen], lengths[chosen])
        one, other = np.split(places, 2)
        shares[near] = _share_words(words, counts[some], one, other, enough)
    return np.where(shares >= LEAST_SHARE, shares, 0.0)


def _count_first_letters(letters: NDArray[np.uint8], counts: Places) -> NDArray[np.int32]:
    """(n, _LETTERS) how many words of each text begin with each letter, given that of each word; some letters are taken
    together. counts: of the words of each text."""
    places = np.repeat(np.arange(len(counts)) * _LETTERS, counts) + letters % _LETTERS
    return np.bincount(places, minlength=len(counts) * _LETTERS).astype(np.int32).reshape(-1, _LETTERS)


def _bound_common(letters: NDArray[np.int32], left: Places, right: Places) -> NDArray[np.int64]:
    """(n,) how many words each pair may have in common: of each first letter no more than either side has. Of pairs
    that begin and end alike, this leaves one in fifty, and their words need not be hashed."""
    bounds: NDArray[np.int64] = np.minimum(letters[left], letters[right]).sum(axis=1, dtype=np.int64)
    return bounds


def _list_words(first: Places, counts: Places) -> Places:
    """The places of all words of some texts, given the first word of each and how many there are."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1]) + np.repeat(first - ends + counts, counts)


def _share_words(words: Hashes, counts: Places, left: Places, right: Places, enough: float) -> NDArray[np.float64]:
    """As `share_words_of_pairs`, given the words of texts one after the other, and how many each has."""
    first = np.cumsum(counts) - counts
    longer = np.maximum(counts[left], counts[right])
    shorter = np.minimum(counts[left], counts[right])
    shares: NDArray[np.float64] = _count_in_place(words, first[left], first[right], shorter) / longer
    near = np.flatnonzero(shares < enough)
    if len(near):
        sides = np.concatenate((left[near], right[near]))
        shares[near] = _count_common(words, first[sides], counts[sides]) / longer[near]
    return shares


def _count_in_place(words: Hashes, left: Places, right: Places, counts: Places) -> NDArray[np.int64]:
    """(n,) how many words of each pair are equal at the same place: fast, and enough for most near-duplicates.
    left, right: the first word of each side; counts: how many are compared, not 0."""
    places = _list_words(left, counts)
    equal = words[places] == words[places + np.repeat(right - left, counts)]
    return np.add.reduceat(equal, np.cumsum(counts) - counts, dtype=np.int64)


def _count_common(words: Hashes, first: Places, counts: Places) -> NDArray[np.int64]:
    """(n,) how many words each pair has in common. first, counts: of n texts on the left, then of those on the right.

    The words of all pairs are sorted at once, each as one number: its pair, its hash, and its side. Then equal words of
    a pair stand together, those of the left before those of the right. Where one side meets the other they have one
    word in common, and one more for each step that can be taken away from there on both sides.
    """
    amount = len(first) // 2
    pairs = np.arange(amount, dtype=np.uint64) << np.uint64(_HASH_BITS + 1)
    keys = words[_list_words(first, counts)]
    keys &= np.uint64((1 << (_HASH_BITS + 1)) - 2)
    keys += np.repeat(np.concatenate((pairs, pairs + np.uint64(1))), counts)
    keys.sort()
    places = np.flatnonzero(keys[1:] ^ keys[:-1] == 1)  # the last word on the left, before the first on the right
    common = _count_by_pair(keys, places, amount)
    for step in range(1, _STEPS):
        places = places[(places >= step) & (places + step + 1 < len(keys))]
        same = (keys[places - step] == keys[places]) & (keys[places + 1 + step] == keys[places + 1])
        places = places[same]
        common += _count_by_pair(keys, places, amount)
    on_left = places + 1 - np.searchsorted(keys, keys[places])
    on_right = np.searchsorted(keys, keys[places + 1], "right") - places - 1
    more = np.repeat(places, np.minimum(on_left, on_right) - _STEPS) if len(places) else places
    return common + _count_by_pair(keys, more, amount)


def _count_by_pair(keys: Hashes, places: Places, amount: int) -> NDArray[np.int64]:
    return np.bincount((keys[places] >> np.uint64(_HASH_BITS + 1)).astype(np.int64), minlength=amount)


def _find_kinds(buffer: bytes) -> NDArray[np.uint8]:
    """The kind of each byte as `re` sees its character: a letter or digit, white space, or another one."""
    kinds = np.frombuffer(bytearray(buffer).translate(_sort_characters(0).tobytes()), np.uint8)
    content = np.frombuffer(buffer, np.uint8)
    begins = np.flatnonzero(content >= 0xC0)  # of characters beyond ASCII
    if not len(begins):
        return kinds
    lead = content[begins].astype(np.int64)
    bytes_of = [content[begins + place].astype(np.int64) & 0x3F for place in (1, 2, 3)]
    points = np.where(
        lead < 0xE0,
        (lead & 0x1F) << 6 | bytes_of[0],
        np.where(
            lead < 0xF0,
            (lead & 0x0F) << 12 | bytes_of[0] << 6 | bytes_of[1],
            (lead & 0x07) << 18 | bytes_of[0] << 12 | bytes_of[1] << 6 | bytes_of[2],
        ),
    )
    found = _look_up(np.minimum(points, _CHARACTERS - 1))
    kinds[begins] = found
    rest = np.where(found == SIGN, REST, found).astype(np.uint8)
    for place, least in ((1, 0xC0), (2, 0xE0), (3, 0xF0)):
        longer = lead >= least
        kinds[begins[longer] + place] = rest[longer]
    return kinds


def _look_up(points: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(n,) the kind of each character. Only blocks of characters that occur are sorted."""
    table = np.empty((_CHARACTERS >> 8, 256), np.uint8)
    for block in np.flatnonzero(np.bincount(points >> 8)).tolist():
        table[block] = _sort_characters(block)
    return table.reshape(-1)[points]


@cache
def _sort_characters(block: int) -> NDArray[np.uint8]:
    """The kinds of 256 characters of Unicode."""
    characters = [chr(block << 8 | place) for place in range(256)]
    kinds = [WORD if each.isalnum() or each == "_" else SPACE if each.isspace() else SIGN for each in characters]
    return np.array(kinds, np.uint8)
