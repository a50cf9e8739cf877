"""JSON Lines: one object a line. Streams; blank lines are not rows.

Most rows are read with orjson and a fast check of their colons; only rows that it rejects, or that could have duplicate
keys, are read again with the strict decoder.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from modelforge.data.limits import LONGEST_ROW
from modelforge.data.readers.json_list import is_wrapper
from modelforge.data.readers.json_values import Decoder, describe_json_error, ends_early, opens_object
from modelforge.data.readers.reader import Beginning, Block, Reader, Take
from modelforge.data.rows import Position, Problem, Row, make_row

_CHUNK_BYTES = 2 << 20
_SNIFFED_LINES = 20
_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
_MOST_CELLS = 4_000_000  # of a block that Arrow reads; it makes room for all columns in all rows
_TOO_LONG = b"\0too long"  # replaces a line of more than LONGEST_ROW bytes; no JSON begins like this
_END_OF_KEY = re.compile(rb'"[ \t]*:')


def recognise(begin: Beginning) -> bool:
    """Whether there is one object a line. Pretty-printed objects have indented lines after their first."""
    if not opens_object(begin.text.lstrip()):
        return False
    lines = [line for line in begin.text.split("\n") if line.strip()][:_SNIFFED_LINES]
    first = _load_object(lines[0].rstrip(", \t"))  # a comma after each row is wrong, but it is one row a line
    if first is not None:
        return len(lines) > 1 or not is_wrapper(first)
    if len(lines) == 1:
        return _holds_long_lines(begin)
    return sum(_load_object(line) is not None for line in lines[1:]) > len(lines[1:]) / 2


def read(path: Path, encoding: str, position: Position, exact_numbers: bool) -> Iterator[Row | Problem]:
    reader = _LineReader(exact_numbers)
    for text, ended in _read_whole_lines(path, encoding, position):
        yield from reader.read(text, ended)


def read_blocks(path: Path, encoding: str, position: Position, columns: Collection[str], take: Take) -> Iterator[Block]:
    """All rows, some thousand at a time: as columns of text if Arrow can read them, else one by one.

    Arrow takes a third of the time. It rejects duplicate keys, numbers instead of text, columns that no line so far
    has, and invalid JSON; then lines are read again one by one. What it accepts by mistake is checked here.
    """
    reader = _LineReader(exact_numbers=False)
    types: dict[str, Any] = {}
    for text, ended in _read_whole_lines(path, encoding, position):
        found = _read_columns(text, columns, types) if ended and types else None
        clean = None if found is None else take(found)
        if clean is not None:
            yield Block([], clean, reader.number + 1, np.arange(reader.line + 1, reader.line + 1 + clean.length))
            reader.skip(clean.length)
        else:
            rows = list(reader.read(text, ended))
            _learn_types(types, rows)
            yield Block(rows)


class _LineReader:
    """Reads lines into rows. number and line: of the last row and of the last line."""

    def __init__(self, exact_numbers: bool) -> None:
        self.number = self.line = 0
        self._exact_numbers = exact_numbers
        self._decoder = Decoder(exact_numbers)

    def read(self, text: bytes, ended: bool) -> Iterator[Row | Problem]:
        """The rows of the next lines. ended: whether the last line has a line ending."""
        loads, make, row_type = orjson.loads, tuple.__new__, Row  # local names: this loop runs a million times
        decoder, exact_numbers, number, line = self._decoder, self._exact_numbers, self.number, self.line
        for raw in text.removesuffix(b"\n").split(b"\n"):
            line += 1
            try:
                value = loads(raw)
            except orjson.JSONDecodeError:
                if raw and not raw.isspace():
                    number += 1
                    yield _read_strictly(raw, number, line, decoder, ended)
                continue
            number += 1
            if (
                exact_numbers
                or type(value) is not dict
                or (len(value) != raw.count(b":") and _may_repeat_key(value, raw))
            ):
                yield _read_strictly(raw, number, line, decoder, ended)
            else:
                yield make(row_type, (number, line, value))
        self.number, self.line = number, line

    def skip(self, count: int) -> None:
        """Count lines that were read elsewhere, each of them a row."""
        self.number += count
        self.line += count


def _may_repeat_key(value: dict[str, Any], raw: bytes) -> bool:
    """Whether the text has more ends of keys than the value has keys.

    Text that looks like the end of a key (an escaped quote before a colon) counts too, and only costs a second read.
    """
    keys = _count_keys(value)
    return raw.count(b":") != keys and len(_END_OF_KEY.findall(raw)) != keys


def _count_keys(value: Any) -> int:
    """The number of keys of an object and of all objects inside it; without recursion, so depth does not matter."""
    count, waiting = 0, [value]
    while waiting:
        inner = waiting.pop()
        if type(inner) is dict:
            count += len(inner)
            inner = inner.values()
        for element in inner:
            if type(element) is dict or type(element) is list:
                waiting.append(element)
    return count


def _read_strictly(raw: bytes, number: int, line: int, decoder: Decoder, ended: bool) -> Row | Problem:
    """The row of an unusual line, or its problem. ended: whether a line ending follows."""
    if raw.startswith(_TOO_LONG):
        problem = f"This line has more than {LONGEST_ROW:,} characters."
        return Problem("error", number, line, None, problem, "Write one example a line.")
    # Lone surrogates, which orjson rejects, pass here; the checks of text report them.
    text = raw.decode("utf-8", "surrogatepass")
    try:
        value = decoder.decode_all(text)
    except (json.JSONDecodeError, RecursionError) as error:
        problem, fix = describe_json_error(error), "Fix the line, or remove it."
        if not ended and isinstance(error, json.JSONDecodeError) and ends_early(error):
            problem = f"The file seems to be cut off in this line. {problem}"
            fix = "Download the whole file again, or remove this line."
        return Problem("error", number, line, None, problem, fix)
    if decoder.flaws:
        return Problem("error", number, line, *decoder.flaws[0])
    return make_row(number, line, value)


def _read_whole_lines(path: Path, encoding: str, position: Position) -> Iterator[tuple[bytes, bool]]:
    """The text as UTF-8 in blocks of whole lines, every line ending as ``\\n``; and whether the last line of the block
    has one, which the last line of a file may not.

    JSON text has no unescaped carriage returns, so each one outside ``\\r\\n`` ends a line, as on old Macs.
    """
    decoder = None if encoding.startswith("utf-8") else codecs.getincrementaldecoder(encoding)()
    size = max(1, path.stat().st_size)
    rest = b""  # of the last chunk: the beginning of a line
    held = b""  # a carriage return at the end of the last chunk: its \n may come with the next
    with path.open("rb", buffering=0) as file:
        if encoding == "utf-8-sig":
            file.seek(len(codecs.BOM_UTF8))
        while chunk := file.read(_CHUNK_BYTES):
            position.share = min(1.0, file.tell() / size)
            position.bytes += len(chunk)
            if decoder is not None:
                chunk = decoder.decode(chunk).encode()
            if held or b"\r" in chunk:
                chunk = held + chunk
                held = b"\r" if chunk.endswith(b"\r") else b""
                chunk = chunk.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            text = rest + chunk
            first = text.find(b"\n", len(rest))
            if (first if first >= 0 else len(text)) > LONGEST_ROW:
                text = _TOO_LONG + (text[first:] if first >= 0 else b"")
            end = text.rfind(b"\n") + 1
            if end:
                yield text[:end], True
            rest = text[end:]
    if held:
        yield rest + b"\n", True
    elif rest:
        yield rest, False


def _load_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _learn_types(types: dict[str, Any], rows: Iterable[Row | Problem]) -> None:
    """Add the columns of some rows, and their Arrow types; None for lists and objects."""
    if None in types.values():
        return
    values = (row.values for row in rows if isinstance(row, Row))
    for name, kind in {pair for each in values for pair in zip(each, map(type, each.values()), strict=True)}:
        known, found = types.get(name), _TYPES.get(kind)
        if kind is type(None):
            types.setdefault(name, pa.null())
        elif found is None or {known, found} != {pa.int64(), pa.float64()}:
            types[name] = found
        else:
            types[name] = pa.float64()


def _read_columns(text: bytes, columns: Collection[str], types: Mapping[str, Any]) -> dict[str, Any] | None:
    """column -> array of texts, one for each line; None if lines must be read one by one. types: of all columns."""
    content = np.frombuffer(text, np.uint8)
    ends = content == ord("\n")
    count = int(np.count_nonzero(ends))
    if None in types.values() or count * len(types) > _MOST_CELLS:
        return None
    if content[0] != ord("{") or (ends[:-1] & (content[1:] != ord("{"))).any() or (content == ord("\r")).any():
        return None
    try:
        table = pyarrow.json.read_json(
            pa.BufferReader(pa.py_buffer(text)),
            pyarrow.json.ReadOptions(use_threads=False, block_size=len(text) + 1),
            pyarrow.json.ParseOptions(
                explicit_schema=pa.schema({**types, **dict.fromkeys(columns, pa.string())}),
                unexpected_field_behavior="error",
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None
    others = [column for name, column in zip(table.schema.names, table.columns, strict=True) if name not in columns]
    if table.num_rows != count or any(_holds_nan(column) for column in others):
        return None
    chunked = {name: table.column(name) for name in columns}
    return {name: each.chunk(0) if each.num_chunks == 1 else each.combine_chunks() for name, each in chunked.items()}


def _holds_nan(column: Any) -> bool:
    """Arrow accepts NaN, which is not JSON."""
    return bool(pa.types.is_floating(column.type) and pc.any(pc.invert(pc.is_finite(column))).as_py())


def _holds_long_lines(begin: Beginning) -> bool:
    """Whether the first line, longer than what was read, is an object with more lines after it."""
    with begin.path.open(encoding=begin.encoding) as file:
        first = ""
        while not first.strip():
            first = file.readline(LONGEST_ROW)
        return _load_object(first) is not None and any(
            line.strip() for line in iter(lambda: file.readline(1 << 20), "")
        )


READER = Reader(recognise, read, read_blocks=read_blocks)
