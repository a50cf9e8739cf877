"""Splits UTF-8 text into words and hashes them, many texts at a time. numpy and Arrow release the GIL.

What a word is depends on the kinds that a caller gives to bytes: `fingerprints` reads fast, `common_words` exactly.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from modelforge.data.row_cache import view_text
from modelforge.text import normalize

SPACE, REST, WORD, SIGN, WIDE = range(5)
"""Kinds of bytes. SIGN: a word on its own; REST: its other bytes. WIDE: begins a word, whose other bytes are WORD."""
_draw = np.random.default_rng(20_260_101)
ODD = _draw.integers(0, 2**63, 4, np.uint64) * np.uint64(2) + np.uint64(1)
ODD_32 = _draw.integers(0, 2**31, 24, np.uint32) * np.uint32(2) + np.uint32(1)
"""Odd numbers for multiplicative hashing."""
PADDING = b" " * 72
"""What a buffer ends with, so that words can be read eight bytes at a time."""

_BEYOND_ASCII = 0x80
_SPACES = re.compile(r"\s")
_MASKS = np.array([(1 << (8 * count)) - 1 for count in range(9)], np.uint64)
_BYTES_A_STEP = 64  # longer words are hashed one by one; there is at most one in so many bytes

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]


def normalise(text: str) -> str:
    """The text in lower case, with single spaces and in Unicode form NFKC."""
    normal = text if text.isascii() else normalize("NFKC", text)
    return " ".join(normal.casefold().split())


def write_words(texts: Any) -> tuple[bytes, Places]:
    """An array of strings as one buffer with the words of `normalise`: a space follows each text, `PADDING` the last
    one; and the offset where each text begins. White space within texts stays."""
    offsets, content = view_text(pc.ascii_lower(pc.binary_join_element_wise(texts, "", " ")))
    return _end_buffer(content.tobytes(), offsets[:-1].astype(np.int64))


def write_ends(columns: Sequence[Any], end: int) -> tuple[bytes, Places]:
    """As `write_words`, of some columns, row by row. Of texts that have more than twice as many bytes, only so many
    characters of the beginning and of the end are used.

    All texts take the same room. Bytes are taken for characters, which is many times faster; where they are not, texts
    are cut again.
    """
    cut = np.full((len(columns[0]), len(columns), 2 * end + 2), ord(" "), np.uint8)
    is_long = np.empty(cut.shape[:2], np.bool_)
    for place, texts in enumerate(columns):
        offsets, content = view_text(texts)
        is_long[:, place] = np.diff(offsets) > 2 * end
        short, long = np.flatnonzero(~is_long[:, place]), np.flatnonzero(is_long[:, place])
        cut[short, place, :-2] = _pad_short(texts.take(pa.array(short)), 2 * end)
        if len(long):
            parts = sliding_window_view(content, end)
            cut[long, place, :end] = parts[offsets[long]]
            cut[long, place, -end - 1 : -1] = parts[offsets[long + 1] - end]
    begins = np.arange(is_long.size) * cut.shape[2]
    is_wide = np.zeros(is_long.size, np.bool_)
    is_wide[np.flatnonzero(cut.reshape(-1) >= _BEYOND_ASCII) // cut.shape[2]] = True
    again = np.flatnonzero(is_wide & is_long.reshape(-1))  # few of most files
    whole = [columns[place % len(columns)][place // len(columns)].as_py() for place in again.tolist()]
    pieces = [f"{text[:end]} {text[-end:]} ".encode().lower() for text in whole]
    return _end_buffer(*_replace(_lower(cut), begins[again], begins[again] + cut.shape[2], pieces, begins))


def _end_buffer(buffer: bytes, begins: Places) -> tuple[bytes, Places]:
    if not buffer.isascii():
        buffer, begins = _normalise_beyond_ascii(buffer, begins)
    return buffer + PADDING, begins


def _pad_short(texts: Any, length: int) -> NDArray[np.uint8]:
    """(n, length) bytes of texts that are no longer, with spaces up to it."""
    offsets, content = view_text(texts)
    padded = sliding_window_view(np.concatenate((content, np.zeros(length, np.uint8))), length)[offsets[:-1]]
    padded[np.arange(length) >= np.diff(offsets)[:, None]] = ord(" ")
    return padded


def _lower(content: NDArray[np.uint8]) -> bytes:
    whole = pa.StringArray.from_buffers(1, pa.array([0, content.size], pa.int32()).buffers()[1], pa.py_buffer(content))
    return view_text(pc.ascii_lower(whole))[1].tobytes()


def _normalise_beyond_ascii(buffer: bytes, begins: Places) -> tuple[bytes, Places]:
    """A buffer of texts with a space after each, and where they begin. Only characters beyond ASCII are normalised,
    each with those next to it and the letter before them, which they may change; most of them occur often."""
    content = np.frombuffer(buffer, np.uint8)
    beyond = np.flatnonzero(content >= _BEYOND_ASCII)
    apart = np.flatnonzero(np.diff(beyond) > 1)
    starts = beyond[np.concatenate(([0], apart + 1))]
    ends = beyond[np.concatenate((apart, [len(beyond) - 1]))] + 1
    starts -= content[starts - 1] > ord(" ")
    known: dict[bytes, bytes] = {}
    for start, stop in zip(starts.tolist(), ends.tolist(), strict=True):
        part = buffer[start:stop]
        if part not in known:
            known[part] = _SPACES.sub(" ", normalize("NFKC", part.decode()).casefold()).encode()
    pieces = [known[buffer[start:stop]] for start, stop in zip(starts.tolist(), ends.tolist(), strict=True)]
    return _replace(buffer, starts, ends, pieces, begins)


def _replace(
    buffer: bytes, starts: Places, ends: Places, pieces: Sequence[bytes], begins: Places
) -> tuple[bytes, Places]:
    """A buffer with other pieces from each start to each end; and where what began at these places begins then."""
    done = np.concatenate(([0], ends))
    kept = [buffer[start:stop] for start, stop in zip(done.tolist(), [*starts.tolist(), len(buffer)], strict=True)]
    joined = b"".join(chain.from_iterable(zip(kept, (*pieces, b""), strict=True)))
    longer = np.fromiter(map(len, pieces), np.int64, len(pieces)) - (ends - starts)
    return joined, begins + np.concatenate(([0], np.cumsum(longer)))[np.searchsorted(starts, begins)]


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
