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

from modelforge.data.duplicates.text_buffers import Places, write_ends, write_words
from modelforge.data.duplicates.word_hashes import (
    ODD,
    ODD_32,
    SIGN,
    SPACE,
    WIDE,
    WORD,
    Hashes,
    count_from,
    find_words,
    hash_words,
    mix,
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
    setting_hash, _ = _digest_few(setting)
    together_hash, together_sketch = _digest_few(together)
    none = np.empty((SKETCH, 0), np.uint32)
    if quick:
        columns = (asked, answered)
        (asked_hash, answered_hash), whole_sketch = _digest(*write_ends(columns, END), len(columns))
        asked_sketch, together_sketch = none, none
        asked_cut, answered_cut = (np.diff(view_text(column)[0]) > 2 * END for column in columns)
    else:
        (asked_hash,), asked_sketch = _digest(*write_words(asked))
        (answered_hash,), answered_sketch = _digest(*write_words(answered))
        whole_sketch = np.minimum(asked_sketch, answered_sketch)  # the sketch of both is the element-wise minimum
        asked_cut = answered_cut = np.zeros(len(asked), np.bool_)
    return Fingerprints(
        setting_hash,
        asked_hash,
        answered_hash,
        together_hash,
        whole_sketch,
        asked_sketch,
        together_sketch,
        asked_cut,
        answered_cut,
    )


def _digest_few(texts: Any) -> tuple[Hashes, Sketches]:
    """Hash (n,) and sketch (SKETCH, n) of texts that are mostly equal or empty; never cut."""
    if not len(view_text(texts)[1]):
        return np.zeros(len(texts), np.uint64), _sketch_nothing(len(texts))
    encoded = texts.dictionary_encode()
    order = encoded.indices.to_numpy(zero_copy_only=False)
    (hashes,), sketches = _digest(*write_words(encoded.dictionary))
    return hashes[order], sketches[:, order]


def _digest(buffer: bytes, offsets: Places, columns: int = 1) -> tuple[Hashes, Sketches]:
    """The hash of each text (columns, n), and a sketch of the texts of each row together (SKETCH, n). The buffer has
    the texts row by row, and offsets where they begin."""
    hashes, sketches = np.zeros(len(offsets), np.uint64), _sketch_nothing(len(offsets) // columns)
    starts, lengths = _split_long(*find_words(np.frombuffer(bytearray(buffer).translate(_KINDS), np.uint8)))
    words = hash_words(buffer, starts, lengths)
    first, counts = count_from(starts, offsets)
    filled = np.flatnonzero(counts)
    if not len(filled):
        return hashes.reshape(-1, columns).T, sketches
    first = first[filled]
    # Each word is hashed with the word before it, so that order matters and texts share phrases, not common words. The
    # first word of a text has none before it.
    pairs = words.copy()
    pairs[1:] ^= words[:-1] * ODD[2]
    pairs[first] = words[first] * ODD[3]
    pairs = mix(pairs)
    hashes[filled] = np.add.reduceat(pairs, first)
    short = (pairs >> np.uint64(32)).astype(np.uint32)
    opens = np.flatnonzero(np.diff(filled // columns, prepend=-1))  # the first text of each row that is not empty
    rows, first = filled[opens] // columns, first[opens]
    permuted = np.empty_like(short)
    for sketch, factor in zip(sketches, ODD_32, strict=True):
        sketch[rows] = np.minimum.reduceat(np.multiply(short, factor, out=permuted), first)
    return hashes.reshape(-1, columns).T, sketches


def _sketch_nothing(count: int) -> Sketches:
    return np.full((SKETCH, count), _NOTHING, np.uint32)


def _split_long(starts: Places, lengths: Places) -> tuple[Places, Places]:
    """The same words, but longer ones are split every _LONGEST_WORD bytes."""
    if not len(starts) or lengths.max() <= _LONGEST_WORD:
        return starts, lengths
    parts = (lengths - 1) // _LONGEST_WORD + 1
    index = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    lengths = np.minimum(np.repeat(lengths, parts) - index * _LONGEST_WORD, _LONGEST_WORD)
    return np.repeat(starts, parts) + index * _LONGEST_WORD, lengths
