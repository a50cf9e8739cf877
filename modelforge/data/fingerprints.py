"""A hash and a MinHash sketch of each text of a row, so that hundreds of thousands of rows can be compared.

A text is a sequence of words: runs of letters and digits, single punctuation characters, and single characters of
scripts without spaces. Case, white space and Unicode form are ignored. Texts with the same words in the same order have
the same hash; the share of equal numbers in two sketches estimates the share of word pairs that two texts have in
common (A. Broder, "On the resemblance and containment of documents", 1997). They are compared in `similar`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from modelforge.data.row_cache import view_text
from modelforge.tasks.base import Texts
from modelforge.text import normalize

SKETCH = 24
"""Numbers in a sketch."""
END = 40
"""Characters: of a text longer than twice this, only the beginning and the end are used. The rest is compared only for
texts that agree there."""

_BATCH_ROWS = 4096
_LONGEST_WORD = 64  # bytes
_SPACE, _WORD, _SIGN, _WIDE = range(4)  # _WIDE starts a character of three or four bytes, a word on its own

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
        return mix(self.asked + self.answered * _ODD[3] + self.setting * _ODD[1])

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


def normalise(text: str) -> str:
    """The text in lower case, with single spaces and in Unicode form NFKC."""
    normal = text if text.isascii() else normalize("NFKC", text)
    return " ".join(normal.casefold().split())


def hash_whole(text: str) -> int:
    """A hash of the whole normalised text; 0 for a text without words."""
    normal = normalise(text)
    return int.from_bytes(hashlib.blake2b(normal.encode("utf-8"), digest_size=8).digest(), "little") if normal else 0


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
    ends, cut = _take_ends(texts, END if quick else None)
    offsets, content = view_text(ends)
    buffer = content.tobytes() + b" " * (_LONGEST_WORD + 1)
    starts, lengths = _find_words(buffer)
    words = _hash_words(buffer, starts, lengths)
    if not len(words):
        return _digest_nothing(len(texts))
    first = np.searchsorted(starts, offsets[:-1])  # of each text: the index of its first word
    empty = np.diff(first, append=len(starts)) == 0
    first = np.minimum(first, len(words) - 1)  # reduceat does not accept an index beyond the end
    # Each word is hashed with the word before it, so that order matters and texts share phrases, not common words. The
    # first word of a text has none before it.
    pairs = words.copy()
    pairs[1:] ^= words[:-1] * _ODD[2]
    pairs[first] = words[first] * _ODD[3]
    pairs = mix(pairs)
    short = (pairs >> np.uint64(32)).astype(np.uint32)
    sketches = np.empty((SKETCH, len(texts)), np.uint32)
    permuted = np.empty_like(short)
    for sketch, factor in zip(sketches, _PERMUTATIONS, strict=True):
        np.minimum.reduceat(np.multiply(short, factor, out=permuted), first, out=sketch)
    hashes = np.add.reduceat(pairs, first)
    hashes[empty] = 0
    sketches[:, empty] = _NOTHING
    return hashes, sketches, cut


def _digest_nothing(count: int) -> tuple[Hashes, Sketches, NDArray[np.bool_]]:
    sketches = np.full((SKETCH, count), _NOTHING, np.uint32)
    return np.zeros(count, np.uint64), sketches, np.zeros(count, np.bool_)


def _take_ends(texts: Any, end: int | None) -> tuple[Any, NDArray[np.bool_]]:
    """The normalised texts with a space at the end, without the middle of those longer than twice `end`; and which were
    cut."""
    import pyarrow.compute as pc

    offsets, content = view_text(texts)
    cut = np.diff(offsets) > 2 * end if end else np.zeros(len(texts), np.bool_)
    is_ascii = content.max() < 0x80
    if cut.any():
        if is_ascii:  # a byte is a character: many times faster
            written = texts.view(pa.binary())
            outer = [pc.binary_slice(written, *ends).view(pa.string()) for ends in ((0, end), (-(end or 0), None))]
        else:
            outer = [pc.utf8_slice_codeunits(texts, *ends) for ends in ((0, end), (-(end or 0), None))]
        texts = pc.if_else(pa.array(cut), pc.binary_join_element_wise(*outer, " "), texts)
    if is_ascii:
        texts = pc.ascii_lower(texts)
    else:
        texts = pa.array([normalise(text) for text in texts.to_pylist()], pa.string())
    return pc.binary_join_element_wise(texts, "", " "), cut


def _find_words(buffer: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The offset and the length in bytes of each word; longer words are split every _LONGEST_WORD bytes."""
    kinds = np.frombuffer(buffer.translate(_KINDS), np.uint8)
    before, here = kinds[:-1], kinds[1:]
    begins = np.empty(len(kinds), np.bool_)
    begins[0] = kinds[0] != _SPACE
    # a word begins at each sign and wide character, and where letters follow a space or a sign
    np.logical_or(here >= _SIGN, (here == _WORD) & ((before == _SPACE) | (before == _SIGN)), out=begins[1:])
    # and ends before a space or another word; the buffer ends in spaces, so every word ends
    ends = (before != _SPACE) & ((here == _SPACE) | begins[1:])
    starts = np.flatnonzero(begins)
    lengths = np.flatnonzero(ends) + 1 - starts
    if len(starts) and lengths.max() > _LONGEST_WORD:
        parts = (lengths - 1) // _LONGEST_WORD + 1
        index = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
        lengths = np.minimum(np.repeat(lengths, parts) - index * _LONGEST_WORD, _LONGEST_WORD)
        starts = np.repeat(starts, parts) + index * _LONGEST_WORD
    return starts, lengths


def _hash_words(buffer: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Hashes:
    """A hash of each word, eight bytes at a time."""
    eights = np.ndarray((len(buffer) - 7,), np.dtype("<u8"), buffer, strides=(1,))  # the eight bytes from each offset
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
