"""Detects the encoding of a text file, and rejects files that are not text."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import NamedTuple

from modelforge.data.rows import Problem
from modelforge.errors import DatasetError

_CHUNK_BYTES = 1 << 20

# UTF-32 before UTF-16, whose mark is a prefix of it.
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class _Fault(NamedTuple):
    """The first undecodable byte: its offset and value; whether non-ASCII bytes before it were decoded; and whether the
    file ends within a character."""

    offset: int
    byte: int
    any_decoded: bool
    cut_off: bool


def detect_encoding(path: Path, head: bytes) -> tuple[str, Problem | None]:
    """The encoding of a text file (utf-8, utf-8-sig, utf-16, utf-16-le, utf-16-be, utf-32, cp1252), given its first
    bytes, and a warning if it is uncertain.

    Reads the whole file, so that decoding cannot fail later. Raises DatasetError for a file that is not text.
    """
    where = path.name
    encoding = next((name for bom, name in _BOMS if head.startswith(bom)), "") or _guess_without_bom(head, where)
    fault = _find_undecodable(path, encoding)
    if fault is None:
        return encoding, None
    line = _line_of(path, encoding, fault.offset)
    if encoding == "utf-8" and not fault.any_decoded and _find_undecodable(path, "cp1252") is None:
        problem = f"Byte 0x{fault.byte:02X} is not UTF-8, so the file was read as Windows-1252; accents may be wrong."
        return "cp1252", Problem("warning", None, line, None, problem, "Save the file as UTF-8.")
    if fault.cut_off:
        raise DatasetError(
            f"The file is cut off: it ends in line {line} in the middle of a character.",
            where=where,
            fix="Download the whole file again, or remove that line.",
        )
    raise DatasetError(
        f"Byte 0x{fault.byte:02X} in line {line} is not valid {encoding}.",
        where=where,
        fix="Save the file as UTF-8.",
    )


def _guess_without_bom(head: bytes, where: str) -> str:
    """UTF-8, or UTF-16, which has a zero in every second byte of Latin letters, digits and signs."""
    zeros = head.count(0)
    if not zeros:
        return "utf-8"
    first_half, second_half = head[0::2].count(0), head[1::2].count(0)
    most = len(head) / 4  # half of all second bytes
    if second_half > most and first_half * 20 < second_half:
        return "utf-16-le"
    if first_half > most and second_half * 20 < first_half:
        return "utf-16-be"
    if zeros * 100 > len(head):
        raise DatasetError("This is not a text file.", where=where, fix="Use a JSONL, JSON, CSV or Excel file.")
    return "utf-8"  # a few zeros in text; rows that contain them are reported


def _find_undecodable(path: Path, encoding: str) -> _Fault | None:
    decoder = codecs.getincrementaldecoder(encoding)()
    ascii_is_plain = encoding in ("utf-8", "utf-8-sig", "cp1252")
    offset, any_decoded, any_pending = 0, False, False
    with path.open("rb") as file:
        while True:
            chunk = file.read(_CHUNK_BYTES)
            if chunk and ascii_is_plain and not any_pending and chunk.isascii():
                offset += len(chunk)
                continue
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                # The decoder prepends what was left of the last chunk, so count from the end of this one.
                position = offset + len(chunk) - len(error.object) + error.start
                decoded_here = not error.object[: error.start].isascii()
                cut_off = error.reason == "unexpected end of data" and not chunk
                return _Fault(position, error.object[error.start], any_decoded or decoded_here, cut_off)
            if not chunk:
                return None
            offset += len(chunk)
            any_decoded = any_decoded or not text.isascii()
            any_pending = bool(decoder.getstate()[0])


def _line_of(path: Path, encoding: str, offset: int) -> int:
    """The line, from 1, of the byte at an offset."""
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    line, last = 1, ""
    with path.open("rb") as file:
        while offset > 0 and (chunk := file.read(min(_CHUNK_BYTES, offset))):
            offset -= len(chunk)
            text = decoder.decode(chunk)
            line += text.count("\n") + text.count("\r") - text.count("\r\n")
            line -= last == "\r" and text.startswith("\n")
            last = text[-1:] or last
    return line
