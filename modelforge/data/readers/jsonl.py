"""JSON Lines: one object a line. Streams; blank lines are no rows.

Nearly all rows go through orjson and a cheap look at their colons; only those that it refuses, or in which a key could
stand twice, are read again with care.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from modelforge.data.readers.json_layout import is_wrapper
from modelforge.data.readers.json_values import Decoder, describe_json_error, ends_early, opens_object
from modelforge.data.readers.reader import LONGEST_ROW, Beginning, Reader
from modelforge.data.rows import Position, Problem, Row, make_row

_CHUNK_BYTES = 1 << 20
_SNIFFED_LINES = 20
_TOO_LONG = b"\0too long"  # stands for a line of more than LONGEST_ROW bytes; no JSON begins so
_END_OF_KEY = re.compile(rb'"[ \t]*:')


def recognise(begin: Beginning) -> bool:
    """Whether objects stand one a line; pretty-printed ones open on a line of their own, with indented lines after."""
    if not opens_object(begin.text.lstrip()):
        return False
    lines = [line for line in begin.text.split("\n") if line.strip()][:_SNIFFED_LINES]
    first = _load_object(lines[0].rstrip(", \t"))  # a comma after each row is wrong, but they are one a line
    if first is not None:
        return len(lines) > 1 or not is_wrapper(first)
    if len(lines) == 1:
        return _holds_long_lines(begin)
    return sum(_load_object(line) is not None for line in lines[1:]) > len(lines[1:]) / 2


def read(path: Path, encoding: str, position: Position, exact_numbers: bool) -> Iterator[Row | Problem]:
    decoder = Decoder(exact_numbers)
    loads, make, row_type = orjson.loads, tuple.__new__, Row  # local names: this loop runs a million times
    number = line = 0
    for lines, ended in _read_lines(path, encoding, position):
        for raw in lines:
            line += 1
            try:
                value = loads(raw)
            except orjson.JSONDecodeError:
                if raw and not raw.isspace():
                    number += 1
                    yield _read_with_care(raw, number, line, decoder, ended)
                continue
            number += 1
            if (
                type(value) is not dict
                or (len(value) != raw.count(b":") and _may_repeat_key(value, raw))
                or (exact_numbers and _holds_number(value))
            ):
                yield _read_with_care(raw, number, line, decoder, ended)
            else:
                yield make(row_type, (number, line, value))


def _may_repeat_key(value: dict[str, Any], raw: bytes) -> bool:
    """Whether there are more ends of keys in the text than keys in what became of it.

    Text that looks like the end of a key (an escaped quote before a colon) counts as one too: a needless second look.
    """
    keys = _count_keys(value)
    return raw.count(b":") != keys and len(_END_OF_KEY.findall(raw)) != keys


def _count_keys(value: Any) -> int:
    """Keys of an object and of all objects in it; without recursion, which would make deep ones a special case."""
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


def _holds_number(value: Any) -> bool:
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        for element in inner.values() if type(inner) is dict else inner:
            if type(element) is int or type(element) is float:
                return True
            if type(element) is dict or type(element) is list:
                waiting.append(element)
    return False


def _read_with_care(raw: bytes, number: int, line: int, decoder: Decoder, ended: bool) -> Row | Problem:
    """The row of a line that is not as it should be, or what is wrong with it. ended: whether a line ending follows."""
    if raw is _TOO_LONG:
        problem = f"This line is longer than {LONGEST_ROW >> 20} MB."
        return Problem("error", number, line, None, problem, "Give an example a line.")
    # Half a character pair, which orjson refuses, comes through; the checks of text find it.
    text = raw.decode("utf-8", "surrogatepass")
    try:
        value = decoder.decode_all(text)
    except (json.JSONDecodeError, RecursionError) as error:
        problem, fix = describe_json_error(error), "Mend the line, or remove it."
        if not ended and isinstance(error, json.JSONDecodeError) and ends_early(error):
            problem = f"The file seems to be cut off in this line. {problem}"
            fix = "Get the whole file again, or remove this line."
        return Problem("error", number, line, None, problem, fix)
    if decoder.flaws:
        return decoder.flaws[0].at(number, line)
    return make_row(number, line, value)


def _read_lines(path: Path, encoding: str, position: Position) -> Iterator[tuple[list[bytes], bool]]:
    """All lines, many at a time, as UTF-8 and without their endings; and whether they had one, which the last line of a
    file may lack."""
    parts: list[bytes] = []  # of the line that is not whole yet
    length = 0
    for chunk in _read_chunks(path, encoding, position):
        lines = chunk.split(b"\n")
        length += len(lines[0])
        if length > LONGEST_ROW:
            parts = [_TOO_LONG]
        else:
            parts.append(lines[0])
        if len(lines) == 1:
            continue
        lines[0] = parts[0] if len(parts) == 1 else b"".join(parts)
        parts, length = [lines[-1]], len(lines[-1])
        del lines[-1]
        yield lines, True
    if length:
        yield [parts[0] if len(parts) == 1 else b"".join(parts)], False


def _read_chunks(path: Path, encoding: str, position: Position) -> Iterator[bytes]:
    """The text as UTF-8, about a megabyte at a time, every line ending as ``\\n``.

    A carriage return stands unescaped in no JSON text, so each one outside of ``\\r\\n`` ends a line, as on old Macs.
    """
    size = max(1, path.stat().st_size)
    decoder = None if encoding.startswith("utf-8") else codecs.getincrementaldecoder(encoding)()
    with path.open("rb", buffering=0) as file:
        if encoding == "utf-8-sig":
            file.seek(len(codecs.BOM_UTF8))
        held = b""  # a carriage return at the end of a chunk: its \n may come with the next
        while chunk := file.read(_CHUNK_BYTES):
            position.share = min(1.0, file.tell() / size)
            if decoder is not None:
                chunk = decoder.decode(chunk).encode("utf-8", "surrogatepass")
            if held or b"\r" in chunk:
                chunk = held + chunk
                held = b"\r" if chunk.endswith(b"\r") else b""
                chunk = chunk.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            yield chunk
        if held:
            yield b"\n"


def _load_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _holds_long_lines(begin: Beginning) -> bool:
    """Whether the first line, too long for the beginning of the file, is an object with more lines after it."""
    with begin.path.open(encoding=begin.encoding) as file:
        first = ""
        while not first.strip():
            first = file.readline(LONGEST_ROW)
        return _load_object(first) is not None and any(
            line.strip() for line in iter(lambda: file.readline(1 << 20), "")
        )


READER = Reader(recognise, read)
