"""Writes many texts into one buffer of normalised UTF-8, whose words can then be found and hashed together.

The buffer has the texts in lower case, with single spaces and in Unicode form NFKC; a space follows each text, and
`PADDING` the last one.
"""

from __future__ import annotations

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

PADDING = b" " * 72
"""What a buffer ends with, so that words can be read eight bytes at a time."""

_BEYOND_ASCII = 0x80
_SPACES = re.compile(r"\s")

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
