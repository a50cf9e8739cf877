"""A hash and a MinHash sketch of each text of a row, so that hundreds of thousands of rows can be compared.

A text is a sequence of words: runs of letters and digits, single punctuation characters, and single characters of
scripts without spaces. Case, white space and Unicode form are ignored. Texts with the same words in the same order have
the same hash; the share of equal numbers in two sketches estimates the share of word pairs that two texts have in
common (A. Broder, "On the resemblance and containment of documents", 1997). They are compared in `similar`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from modelforge.data.duplicates.word_hashes import (
    ODD,
    ODD_32,
    SIGN,
    SPACE,
    WIDE,
    WORD,
    Hashes,
    Places,
    count_from,
    find_words,
    hash_words,
    mix,
    write_words,
)
from modelforge.data.row_cache import view_text
from modelforge.tasks.base import Texts

SKETCH = len(ODD_32)
"""Numbers in a sketch."""
END = 40
"""Characters: of a text longer than twice this, only the beginning and the end are used. The rest is compared only for
texts that agree there."""

_BATCH_ROWS = 4096
_LONGEST_WORD = 64  # bytes

Sketches = NDArray[np.uint32]


def _classify_bytes() -> bytes:
    kinds = bytearray([SIGN]) * 256
    for kind, characters in (
        (SPACE, [*range(33), 127]),
        (WORD, [*b"0123456789", *b"abcdefghijklmnopqrstuvwxyz", *b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", *b"_"]),
        (WORD, range(0x80, 0xE0)),
        (WIDE, range(0xE0, 0x100)),
    ):
        for character in characters:
            kinds[character] = kind
    return bytes(kinds)


_KINDS = _classify_bytes()
_NOTHING = 2**32 - 1


@dataclass(frozen=True)
class Fingerprints:
    """The fingerprints of n rows. setting, asked, answered, together: (n,) hashes, 0 for a text without words.
    whole_sketch (of asked and answered together), asked_sketch, together_sketch: (SKETCH, n), or (SKETCH, 0) if not
    computed. asked_cut, answered_cut: (n,) whether the middle of a long text was left out; then equal hashes must be
    confirmed by `hash_whole_texts`."""

    setting: Hashes
    asked: Hashes
    answered: Hashes
    together: Hashes
    whole_sketch: Sketches
    asked_sketch: Sketches
    together_sketch: Sketches
    asked_cut: NDArray[np.bool_]
    answered_cut: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.asked)

    @property
    def whole(self) -> Hashes:
        """(n,) hashes of all texts of a row."""
        return mix(self.asked + self.answered * ODD[3] + self.setting * ODD[1])

    @classmethod
    def join(cls, parts: Sequence[Fingerprints]) -> Fingerprints:
        parts = parts or [fingerprint_columns(*[pa.array([], pa.string())] * 4, quick=True)]
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts], axis=-1) for field in fields(cls)))


def fingerprint_texts(rows: Iterable[Texts]) -> Fingerprints:
    """The fingerprints of some rows."""
    parts = []
    rows = iter(rows)
    while some := list(islice(rows, _BATCH_ROWS)):
        parts.append(fingerprint_columns(*(pa.array(column, pa.string()) for column in zip(*some, strict=True))))
    return Fingerprints.join(parts)


def fingerprint_columns(setting: Any, asked: Any, answered: Any, together: Any, *, quick: bool = False) -> Fingerprints:
    """The fingerprints of rows, given arrays of their texts.

    quick: only one of the three sketches, and only the ends of long texts (`END`).
    """
    asked_hash, asked_sketch, asked_cut = _digest(asked, quick=quick)
    answered_hash, answered_sketch, answered_cut = _digest(answered, quick=quick)
    setting_hash, _ = _digest_few(setting)
    together_hash, together_sketch = _digest_few(together)
    none = asked_sketch[:, :0]
    return Fingerprints(
        setting_hash,
        asked_hash,
        answered_hash,
        together_hash,
        np.minimum(asked_sketch, answered_sketch),  # the sketch of a union is the element-wise minimum
        none if quick else asked_sketch,
        none if quick else together_sketch,
        asked_cut,
        answered_cut,
    )


def _digest_few(texts: Any) -> tuple[Hashes, Sketches]:
    """Hash (n,) and sketch (SKETCH, n) of texts that are mostly equal or empty; never cut."""
    if not len(view_text(texts)[1]):
        return _digest_nothing(len(texts))[:2]
    encoded = texts.dictionary_encode()
    order = encoded.indices.to_numpy(zero_copy_only=False)
    hashes, sketches, _ = _digest(encoded.dictionary, quick=False)
    return hashes[order], sketches[:, order]


def _digest(texts: Any, *, quick: bool) -> tuple[Hashes, Sketches, NDArray[np.bool_]]:
    """Hash (n,) and sketch (SKETCH, n) of each text of an array, and whether its middle was left out."""
    if not len(view_text(texts)[1]):
        return _digest_nothing(len(texts))
    cut = np.diff(view_text(texts)[0]) > 2 * END if quick else np.zeros(len(texts), np.bool_)
    buffer, offsets = write_words(texts, END if quick else None)
    starts, lengths = _split_long(*find_words(np.frombuffer(bytearray(buffer).translate(_KINDS), np.uint8)))
    words = hash_words(buffer, starts, lengths)
    if not len(words):
        return _digest_nothing(len(texts))
    first, counts = count_from(starts, offsets)
    filled = np.flatnonzero(counts)
    first = first[filled]
    # Each word is hashed with the word before it, so that order matters and texts share phrases, not common words. The
    # first word of a text has none before it.
    pairs = words.copy()
    pairs[1:] ^= words[:-1] * ODD[2]
    pairs[first] = words[first] * ODD[3]
    pairs = mix(pairs)
    short = (pairs >> np.uint64(32)).astype(np.uint32)
    hashes, sketches, _ = _digest_nothing(len(texts))
    hashes[filled] = np.add.reduceat(pairs, first)
    permuted = np.empty_like(short)
    for sketch, factor in zip(sketches, ODD_32, strict=True):
        sketch[filled] = np.minimum.reduceat(np.multiply(short, factor, out=permuted), first)
    return hashes, sketches, cut


def _digest_nothing(count: int) -> tuple[Hashes, Sketches, NDArray[np.bool_]]:
    sketches = np.full((SKETCH, count), _NOTHING, np.uint32)
    return np.zeros(count, np.uint64), sketches, np.zeros(count, np.bool_)


def _split_long(starts: Places, lengths: Places) -> tuple[Places, Places]:
    """The same words, but longer ones are split every _LONGEST_WORD bytes."""
    if not len(starts) or lengths.max() <= _LONGEST_WORD:
        return starts, lengths
    parts = (lengths - 1) // _LONGEST_WORD + 1
    index = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    lengths = np.minimum(np.repeat(lengths, parts) - index * _LONGEST_WORD, _LONGEST_WORD)
    return np.repeat(starts, parts) + index * _LONGEST_WORD, lengths
