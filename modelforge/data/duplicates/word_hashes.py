"""Splits a buffer of texts into words and hashes them, many texts at a time. numpy and Arrow release the GIL.

What a word is depends on the kinds that a caller gives to bytes: `fingerprints` reads fast, `common_words` exactly.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelforge.data.duplicates.text_buffers import Places, write_words

SPACE, REST, WORD, SIGN, WIDE = range(5)
"""Kinds of bytes. SIGN: a word on its own; REST: its other bytes. WIDE: begins a word, whose other bytes are WORD."""
_draw = np.random.default_rng(20_260_101)
ODD = _draw.integers(0, 2**63, 4, np.uint64) * np.uint64(2) + np.uint64(1)
ODD_32 = _draw.integers(0, 2**31, 24, np.uint32) * np.uint32(2) + np.uint32(1)
"""Odd numbers for multiplicative hashing."""

_MASKS = np.array([(1 << (8 * count)) - 1 for count in range(9)], np.uint64)
_BYTES_A_STEP = 64  # longer words are hashed one by one; there is at most one in so many bytes

Hashes = NDArray[np.uint64]


def find_words(kinds: NDArray[np.uint8]) -> tuple[Places, Places]:
    """The offset and the length in bytes of each word, given the kind of each byte; the last one is SPACE."""
    before, here = kinds[:-1], kinds[1:]
    begins = np.empty(len(kinds), np.bool_)
    begins[0] = kinds[0] != SPACE
    # a word begins at each sign and wide character, and where letters follow anything else than letters
    np.logical_or(here >= SIGN, (here == WORD) & (before != WORD) & (before != WIDE), out=begins[1:])
    # and ends before a space or another word
    ends = (before != SPACE) & ((here == SPACE) | begins[1:])
    starts = np.flatnonzero(begins)
    return starts, np.flatnonzero(ends) + 1 - starts


def hash_words(buffer: bytes, starts: Places, lengths: Places) -> Hashes:
    """A hash of each word, eight bytes at a time."""
    eights = np.ndarray((len(buffer) - 7,), np.dtype("<u8"), buffer, strides=(1,))  # the eight bytes from each offset
    words = eights[starts]
    words &= _MASKS[np.minimum(lengths, 8)]
    words = mix(words)
    longer = np.flatnonzero(lengths > 8)
    for done in range(8, _BYTES_A_STEP, 8):
        if not len(longer):
            return words
        more = eights[starts[longer] + done] & _MASKS[np.minimum(lengths[longer] - done, 8)]
        words[longer] = mix(words[longer] * ODD[1] + more)
        longer = longer[lengths[longer] > done + 8]
    for index in longer.tolist():
        start = int(starts[index])
        digest = hashlib.blake2b(buffer[start : start + int(lengths[index])], digest_size=8).digest()
        words[index] = int.from_bytes(digest, "little")
    return words


def count_from(starts: Places, offsets: NDArray[Any]) -> tuple[Places, Places]:
    """Of each text that begins at these offsets: the index of its first word, and how many words it has."""
    first = np.searchsorted(starts, offsets)
    return first, np.diff(first, append=len(starts))


def hash_texts(texts: Any) -> Hashes:
    """(n,) a hash of each whole text in the form of `normalise`; 0 for a text without words. Equal texts are hashed
    once: those whose hashes are wanted are often equal."""
    encoded = texts.dictionary_encode()
    buffer, offsets = write_words(encoded.dictionary)
    starts, lengths = find_words(np.frombuffer(bytearray(buffer).translate(_APART), np.uint8))
    first, counts = count_from(starts, offsets)
    words = hash_words(buffer, starts, lengths)
    places = (np.arange(len(words)) - np.repeat(first, counts)).astype(np.uint64)
    words = mix(words + places * ODD[2])
    filled = np.flatnonzero(counts)
    hashes = np.zeros(len(offsets), np.uint64)
    hashes[filled] = np.add.reduceat(words, first[filled]) if len(filled) else 0
    found: Hashes = hashes[encoded.indices.to_numpy()]
    return found


def mix(numbers: Hashes) -> Hashes:
    """Spread 64 bits over 64 bits, in place: multiply and shift, as in splitmix64 (S. Vigna)."""
    numbers *= np.uint64(0xBF58476D1CE4E5B9)
    numbers ^= numbers >> np.uint64(29)
    numbers *= np.uint64(0x94D049BB133111EB)
    numbers ^= numbers >> np.uint64(32)
    return numbers


def _part_at_spaces() -> bytes:
    """The kinds of bytes where words are whatever stands between white space."""
    kinds = bytearray([WORD]) * 256
    for space in b"\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f ":
        kinds[space] = SPACE
    return bytes(kinds)


_APART = _part_at_spaces()
