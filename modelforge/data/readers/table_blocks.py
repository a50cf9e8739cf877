"""Reads the records of a CSV file as columns of text, some thousand at a time, many times as fast as `csv` reads rows.

Arrow accepts what `csv` rejects, such as text after a closing quote, so only records whose quotes are all in order are
given to it. `table` reads the others.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from modelforge.data.limits import LONGEST_ROW
from modelforge.data.rows import Position

_CHUNK_BYTES = 4 << 20
_BOM = b"\xef\xbb\xbf"


class Records(NamedTuple):
    """Whole records. start: their place in the file, in bytes. in_order: whether `csv` reads them as they are divided
    here; where it does not, text is what is left of the file up to some place. lines: how many line endings there are
    before each record, among these; newlines: how many there are."""

    text: bytes
    start: int
    in_order: bool
    lines: NDArray[np.int64]
    newlines: int


def find_start(path: Path, lines: int) -> int | None:
    """Where a file goes on after some lines, in bytes; None if that is beyond the first megabytes."""
    with path.open("rb") as file:
        head = file.read(_CHUNK_BYTES)
    ends = [match.end() for match in islice(re.finditer(rb"\r\n|\n|\r", head), lines)]
    return ends[-1] if 0 < lines == len(ends) else None


def can_divide(encoding: str, delimiter: str) -> bool:
    """Whether records of this kind can be divided by their bytes."""
    return encoding.startswith("utf-8") and delimiter.isascii() and delimiter not in '"\r\n'


def divide_records(path: Path, start: int, delimiter: str, position: Position) -> Iterator[Records]:
    """The records from a place of a UTF-8 file on, in parts of some megabytes. After a part that is not in order there
    are no more."""
    size = max(1, path.stat().st_size)
    rest = b""
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        is_last = False
        while not is_last:
            chunk = file.read(_CHUNK_BYTES)
            is_last = not chunk
            position.bytes += len(chunk)
            position.share = min(1.0, file.tell() / size)
            rest += chunk
            records = _cut(rest, start, delimiter, is_last) if rest else None
            if records is None:
                continue
            yield records
            if not records.in_order:
                return
            rest = rest[len(records.text) :]
            start += len(records.text)


def _cut(text: bytes, start: int, delimiter: str, is_last: bool) -> Records | None:
    """The whole records at the beginning of a text; None if there is none so far."""
    content = np.frombuffer(text, np.uint8)
    marks = np.flatnonzero((content == ord('"')) | (content == ord("\n")))
    is_quote = content[marks] == ord('"')
    quotes, newlines = marks[is_quote], marks[~is_quote]
    ends = newlines[np.cumsum(is_quote)[~is_quote] % 2 == 0] + 1  # those that are not inside quotes
    if is_last and (not len(ends) or ends[-1] < len(text)):
        ends = np.append(ends, len(text))
    if not len(ends):
        return Records(text, start, False, ends, len(newlines)) if len(text) > LONGEST_ROW else None
    end = int(ends[-1])
    whole, content = text[:end], content[:end]
    begins = np.concatenate(([0], ends[:-1]))
    short = np.flatnonzero(ends - begins <= 2)  # perhaps only a line ending
    is_blank = np.zeros(len(ends), np.bool_)
    is_blank[short] = [not whole[begins[index] : ends[index]].strip(b"\r\n") for index in short.tolist()]
    in_order = (
        (b"\r" not in whole or _are_before_newlines(np.flatnonzero(content == ord("\r")), content))
        and not whole.startswith(_BOM)
        and _are_in_order(whole, quotes[: np.searchsorted(quotes, end)], delimiter)
    )
    lines = np.searchsorted(newlines, begins[~is_blank])
    return Records(whole, start, in_order, lines, int(np.searchsorted(newlines, end)))


def _are_before_newlines(places: NDArray[np.int64], content: NDArray[np.uint8]) -> bool:
    """Whether a newline follows each of some carriage returns."""
    return bool(places[-1] + 1 < len(content) and (content[places + 1] == ord("\n")).all())


def _are_in_order(text: bytes, quotes: NDArray[np.int64], delimiter: str) -> bool:
    """Whether each quote opens or closes a cell, or is one of two inside a quoted cell."""
    if len(quotes) % 2:
        return False
    content = np.frombuffer(text, np.uint8)
    may_open, may_close = np.zeros((2, 256), np.bool_)  # by the byte before or after a quote
    may_open[[ord(delimiter), ord("\n")]] = True
    may_close[[ord(delimiter), *b'\r\n"']] = True
    opening, closing = quotes[::2], quotes[1::2]
    opens = may_open[content[opening - 1]] | (opening == 0)
    opens[1:] |= opening[1:] == closing[:-1] + 1  # the second of two quotes inside a cell
    closes = may_close[content[np.minimum(closing + 1, len(text) - 1)]] | (closing == len(text) - 1)
    return bool(opens.all() and closes.all())


def read_columns(
    records: Records, names: Sequence[str], columns: Collection[str], delimiter: str
) -> dict[str, Any] | None:
    """column -> array of texts, one for each record; None if records must be read one by one."""
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(pa.py_buffer(records.text)),
            pyarrow.csv.ReadOptions(
                use_threads=False, block_size=len(records.text) + 1, column_names=list(names), encoding="utf8"
            ),
            pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()),
                include_columns=list(dict.fromkeys(columns)),
                strings_can_be_null=False,
                quoted_strings_can_be_null=False,
                check_utf8=False,  # the whole file was when it was opened
            ),
        )
    except pa.ArrowInvalid:  # records with more or fewer cells
        return None
    if table.num_rows != len(records.lines):
        return None
    chunked = {name: table.column(name) for name in columns}
    return {name: each.chunk(0) if each.num_chunks == 1 else each.combine_chunks() for name, each in chunked.items()}
