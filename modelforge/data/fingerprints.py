"""What rows say, as numbers that can be compared by the hundred thousand: a hash and a MinHash sketch of each text.

A text is seen as its words: runs of letters and digits, signs one by one, and each character
of a script that is written without blanks. Case, white space and Unicode form do not count. Texts with the same words
in the same order have the same hash; the share of equal numbers in two sketches estimates how many of their pairs of
neighbouring words two texts have in common (A. Broder, "On the resemblance and containment of documents", 1997). What
is the same, and what follows from it, is not decided here (`similar`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelforge.tasks.base import Texts

SKETCH = 32
"""Numbers in a sketch."""

_BATCH_CHARACTERS = 1 << 19  # what fits into a processor's cache with all that is made of it
_LONGEST_WORD = 64  # bytes
_SPACE, _WORD, _SIGN, _WIDE = range(4)  # _WIDE opens a character of three or four bytes: a word by itself

Hashes = NDArray[np.uint64]
Sketches = NDArray[np.uint32]


def _classify_bytes() -> bytes:
    kinds = bytearray([_SIGN]) * 256
    for kind, characters in (
        (_SPACE, [*range(33), 127]),
        (_WORD, [*b"0123456789", *b"abcdefghijklmnopqrstuvwxyz", *b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", *b"_"]),
        (_WORD, range(0x80, 0xE0)),
        (_WIDE, range(0xE0, 0x100)),
    ):
        for character in characters:
            kinds[character] = kind
    return bytes(kinds)


_KINDS = _classify_bytes()
_MASKS = np.array([(1 << (8 * count)) - 1 for count in range(9)], np.uint64)
_NOTHING = 2**32 - 1
_draw = np.random.default_rng(20_260_101)
_ODD = _draw.integers(0, 2**63, 4, np.uint64) * np.uint64(2) + np.uint64(1)
_PERMUTATIONS = _draw.integers(0, 2**31, SKETCH, np.uint32) * np.uint32(2) + np.uint32(1)


@dataclass(frozen=True)
class Prints:
    """The fingerprints of n rows. setting, asked, whole, together: (n,) hashes, 0 for a text without words; whole is of
    asked and answered together. asked_sketch, whole_sketch, together_sketch: (n, SKETCH)."""

    setting: Hashes
    asked: Hashes
    whole: Hashes
    together: Hashes
    asked_sketch: Sketches
    whole_sketch: Sketches
    together_sketch: Sketches

    def __len__(self) -> int:
        return len(self.whole)

    def take(self, rows: Any) -> Prints:
        """Those of some rows: indices, or a mask."""
        return Prints(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def join(cls, parts: Sequence[Prints]) -> Prints:
        if not parts:
            return cls.join([print_rows([])])
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


class Printer:
    """Takes the texts of rows and works on them in batches."""

    def __init__(self) -> None:
        self._waiting: list[Texts] = []
        self._characters = 0
        self._batches: list[Prints] = []

    def add(self, rows: Iterable[Texts]) -> None:
        for texts in rows:
            self._waiting.append(texts)
            self._characters += len(texts.asked) + len(texts.answered) + len(texts.together)
            if self._characters > _BATCH_CHARACTERS:
                self._print()

    def finish(self) -> Prints:
        """The fingerprints of all rows, in the order in which they were added."""
        self._print()
        return Prints.join(self._batches)

    def _print(self) -> None:
        if self._waiting:
            self._batches.append(print_rows(self._waiting))
            self._waiting, self._characters = [], 0


def print_rows(rows: Sequence[Texts]) -> Prints:
    """The fingerprints of some rows."""
    asked, asked_sketch = _digest([texts.asked for texts in rows])
    answered, answered_sketch = _digest([texts.answered for texts in rows])
    setting = _digest_few([texts.setting for texts in rows])[0]
    together, together_sketch = _digest_few([texts.together for texts in rows])
    whole = mix(asked + answered * _ODD[3] + setting)
    # the sketch of two texts together is, number by number, the lesser of theirs
    whole_sketch = np.minimum(asked_sketch, answered_sketch)
    return Prints(setting, asked, whole, together, asked_sketch, whole_sketch, together_sketch)


def normalise(text: str) -> str:
    """The text with case and Unicode form evened out."""
    return text.casefold() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def _digest_few(texts: Sequence[str]) -> tuple[Hashes, Sketches]:
    """As `_digest`, for texts that are mostly the same or not there."""
    places: dict[str, int] = {}
    order = [places.setdefault(text, len(places)) for text in texts]
    hashes, sketches = _digest(list(places))
    return hashes[order], sketches[order]


def _digest(texts: Sequence[str]) -> tuple[Hashes, Sketches]:
    """Hash (n,) and sketch (n, SKETCH) of each text."""
    encoded = [normalise(text).encode("utf-8", "surrogatepass") for text in texts]
    buffer = b" ".join(encoded) + b" " * (_LONGEST_WORD + 1)
    ends = np.cumsum(np.fromiter((len(text) + 1 for text in encoded), np.int64, len(encoded)))
    starts, lengths = _find_words(buffer)
    words = _hash_words(buffer, starts, lengths)
    if not len(words):
        return np.zeros(len(texts), np.uint64), np.full((len(texts), SKETCH), _NOTHING, np.uint32)
    first = np.searchsorted(starts, ends - np.diff(ends, prepend=0))  # of each text: the index of its first word
    empty = np.diff(first, append=len(starts)) == 0
    first = np.minimum(first, len(words) - 1)  # reduceat takes no index beyond the end, not even for nothing
    # A word counts with the one before it: their order counts, and what texts share are phrases, not the few words
    # that all texts have. The first of a text has none before it.
    pairs = words.copy()
    pairs[1:] ^= words[:-1] * _ODD[2]
    pairs[first] = words[first] * _ODD[3]
    pairs = mix(pairs)
    short = (pairs >> np.uint64(32)).astype(np.uint32)
    sketches = np.empty((len(texts), SKETCH), np.uint32)
    for index, factor in enumerate(_PERMUTATIONS):
        sketches[:, index] = np.minimum.reduceat(short * factor, first)
    hashes = np.add.reduceat(pairs, first)
    hashes[empty] = 0
    sketches[empty] = _NOTHING
    return hashes, sketches


def _find_words(buffer: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the words begin, and how many bytes they have; longer ones are cut into pieces of _LONGEST_WORD."""
    kinds = np.frombuffer(buffer.translate(_KINDS), np.uint8)
    before, here = kinds[:-1], kinds[1:]
    begins = np.empty(len(kinds), np.bool_)
    begins[0] = kinds[0] != _SPACE
    # a word begins at each sign and each wide character, and where letters follow a space or a sign
    np.logical_or(here >= _SIGN, (here == _WORD) & ((before == _SPACE) | (before == _SIGN)), out=begins[1:])
    borders = np.flatnonzero(begins | (kinds == _SPACE))
    places = np.flatnonzero(begins[borders])
    starts = borders[places]
    lengths = borders[places + 1] - starts  # the buffer ends in spaces, so there is always a next border
    if len(starts) and lengths.max() > _LONGEST_WORD:
        pieces = (lengths - 1) // _LONGEST_WORD + 1
        index = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        lengths = np.minimum(np.repeat(lengths, pieces) - index * _LONGEST_WORD, _LONGEST_WORD)
        starts = np.repeat(starts, pieces) + index * _LONGEST_WORD
    return starts, lengths


def _hash_words(buffer: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Hashes:
    """A hash of each word, eight bytes at a time."""
    eights = np.ndarray((len(buffer) - 7,), np.dtype("<u8"), buffer, strides=(1,))  # those that begin at each byte
    words = eights[starts]
    words &= _MASKS[np.minimum(lengths, 8)]
    words = mix(words)
    for done in range(8, _LONGEST_WORD, 8):
        longer = np.flatnonzero(lengths > done)
        if not len(longer):
            break
        more = eights[starts[longer] + done] & _MASKS[np.minimum(lengths[longer] - done, 8)]
        words[longer] = mix(words[longer] * _ODD[1] + more)
    return words


def mix(numbers: Hashes) -> Hashes:
    """Spread 64 bits over 64 bits, in place: multiply and shift, as in splitmix64 (S. Vigna)."""
    numbers *= np.uint64(0xBF58476D1CE4E5B9)
    numbers ^= numbers >> np.uint64(29)
    numbers *= np.uint64(0x94D049BB133111EB)
    numbers ^= numbers >> np.uint64(32)
    return numbers
