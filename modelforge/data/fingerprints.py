"""What rows say, as numbers that can be compared by the hundred thousand: a hash and a MinHash sketch of each text.

A text is seen as its words: runs of letters and digits, signs one by one, and each character
of a script that is written without blanks. Case, white space and Unicode form do not count. Texts with the same words
in the same order have the same hash; the share of equal numbers in two sketches estimates how many of their pairs of
neighbouring words two texts have in common (A. Broder, "On the resemblance and containment of documents", 1997). What
is the same, and what follows from it, is not decided here (`similar`).
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from modelforge.data.row_cache import view_text
from modelforge.tasks.base import Texts

SKETCH = 24
"""Numbers in a sketch."""
END = 40
"""Characters: of a text longer than twice this, only its beginning and its end are looked at. Texts that are the same,
or nearly the same, are so there too; whether the rest agrees is looked up for the few that agree so far."""

_BATCH_ROWS = 4096
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
    """The fingerprints of n rows. setting, asked, answered, together: (n,) hashes, 0 for a text without words.
    whole_sketch (of asked and answered together), asked_sketch, together_sketch: (SKETCH, n), or (SKETCH, 0) where only
    the first was wanted. asked_cut, answered_cut: (n,) whether the middle of a long text was left out; then equal
    hashes are only a hint, until `sharpen` has looked."""

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
        """(n,) hashes of all that a row says."""
        return mix(self.asked + self.answered * _ODD[3] + self.setting * _ODD[1])

    @classmethod
    def join(cls, parts: Sequence[Prints]) -> Prints:
        parts = parts or [print_columns(*[pa.array([], pa.string())] * 4, quick=True)]
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts], axis=-1) for field in fields(cls)))


def print_texts(rows: Iterable[Texts]) -> Prints:
    """The fingerprints of some rows."""
    parts = []
    rows = iter(rows)
    while some := list(islice(rows, _BATCH_ROWS)):
        parts.append(print_columns(*(pa.array(column, pa.string()) for column in zip(*some, strict=True))))
    return Prints.join(parts)


def print_columns(setting: Any, asked: Any, answered: Any, together: Any, *, quick: bool = False) -> Prints:
    """The fingerprints of the rows whose texts these arrays of strings hold.

    quick: with one sketch of the three, and of long texts only the ends are looked at (`END`).
    """
    asked_hash, asked_sketch, asked_cut = _digest(asked, quick=quick)
    answered_hash, answered_sketch, answered_cut = _digest(answered, quick=quick)
    setting_hash, _ = _digest_few(setting)
    together_hash, together_sketch = _digest_few(together)
    none = asked_sketch[:, :0]
    return Prints(
        setting_hash,
        asked_hash,
        answered_hash,
        together_hash,
        np.minimum(asked_sketch, answered_sketch),  # the sketch of both is, number by number, the lesser of theirs
        none if quick else asked_sketch,
        none if quick else together_sketch,
        asked_cut,
        answered_cut,
    )


def normalise(text: str) -> str:
    """The text with case, white space and Unicode form evened out."""
    even = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return " ".join(even.casefold().split())


def hash_exactly(text: str) -> int:
    """A hash of the whole text, normalised; 0 for one without words."""
    even = normalise(text)
    return int.from_bytes(hashlib.blake2b(even.encode("utf-8"), digest_size=8).digest(), "little") if even else 0


def _digest_few(texts: Any) -> tuple[Hashes, Sketches]:
    """Hash (n,) and sketch (SKETCH, n) of texts that are mostly the same or not there; never cut."""
    if not len(view_text(texts)[1]):
        return _digest_nothing(len(texts))[:2]
    encoded = texts.dictionary_encode()
    order = encoded.indices.to_numpy(zero_copy_only=False)
    hashes, sketches, _ = _digest(encoded.dictionary, quick=False)
    return hashes[order], sketches[:, order]


def _digest(texts: Any, *, quick: bool) -> tuple[Hashes, Sketches, NDArray[np.bool_]]:
    """Hash (n,) and sketch (SKETCH, n) of each text of an array, and whether the middle of it was left out."""
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
    first = np.minimum(first, len(words) - 1)  # reduceat takes no index beyond the end, not even for nothing
    # A word counts with the one before it: their order counts, and what texts share are phrases, not the few words
    # that all texts have. The first of a text has none before it.
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
    """The texts normalised and with a space at their end, those longer than twice `end` without their middle; and which
    those are."""
    import pyarrow.compute as pc

    offsets, content = view_text(texts)
    cut = np.diff(offsets) > 2 * end if end else np.zeros(len(texts), np.bool_)
    is_ascii = content.max() < 0x80
    if cut.any():
        if is_ascii:  # a byte is a character, which is many times as fast
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
    """Where the words begin, and how many bytes they have; longer ones are cut into pieces of _LONGEST_WORD."""
    kinds = np.frombuffer(buffer.translate(_KINDS), np.uint8)
    before, here = kinds[:-1], kinds[1:]
    begins = np.empty(len(kinds), np.bool_)
    begins[0] = kinds[0] != _SPACE
    # a word begins at each sign and each wide character, and where letters follow a space or a sign
    np.logical_or(here >= _SIGN, (here == _WORD) & ((before == _SPACE) | (before == _SIGN)), out=begins[1:])
    # and ends where a space or another word follows; the buffer ends in spaces, so each one that begins ends
    ends = (before != _SPACE) & ((here == _SPACE) | begins[1:])
    starts = np.flatnonzero(begins)
    lengths = np.flatnonzero(ends) + 1 - starts
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
