"""Detects the encoding of a text file, and rejects files that are not text."""

from __future__ import annotations

import codecs
import io
from pathlib import Path

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
    offset, byte, is_cut_off = fault
    line, is_ascii = _describe_before(path, encoding, offset)
    if encoding == "utf-8" and is_ascii and _find_undecodable(path, "cp1252") is None:
        problem = f"Byte 0x{byte:02X} is not UTF-8, so the file was read as Windows-1252; accents may be wrong."
        return "cp1252", Problem("warning", None, line, None, problem, "Save the file as UTF-8.")
    if is_cut_off:
        what = f"The file is cut off: it ends in line {line} in the middle of a character."
        raise DatasetError(what, where=where, fix="Download the whole file again, or remove that line.")
    what = f"Byte 0x{byte:02X} in line {line} is not valid {encoding}."
    raise DatasetError(what, where=where, fix="Save the file as UTF-8.")


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


def _find_undecodable(path: Path, encoding: str) -> tuple[int, int, bool] | None:
    """The offset and the value of the first undecodable byte, and whether the file ends within a character."""
    if encoding in {"utf-8", "utf-8-sig"} and _is_utf8(path):
        return None
    decoder = codecs.getincrementaldecoder(encoding)()
    offset = 0
    with path.open("rb") as file:
        while True:
            chunk = file.read(_CHUNK_BYTES)
            offset += len(chunk)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                # The decoder prepends what was left of the last chunk, so count from the end of this one.
                position = offset - len(error.object) + error.start
                is_cut_off = error.reason == "unexpected end of data" and not chunk
                return position, error.object[error.start], is_cut_off
            if not chunk:
                return None


def _is_utf8(path: Path) -> bool:
    """By Arrow, which is several times as fast as Python's decoder and does not say where a fault is."""
    import pyarrow as pa

    buffer = bytearray(_CHUNK_BYTES + 4)  # room for a character that goes on
    view, source = memoryview(buffer), pa.py_buffer(buffer)
    kept = 0  # bytes of that character, at the beginning of the buffer
    with path.open("rb", buffering=0) as file:
        while True:
            count = file.readinto(view[kept:])
            end = kept + count
            stop = _find_last_character(view[:end]) if count else end
            offsets = pa.array([0, stop], pa.int32()).buffers()[1]
            try:
                pa.Array.from_buffers(pa.string(), 1, [None, offsets, source]).validate(full=True)
            except pa.ArrowInvalid:
                return False
            if not count:
                return True
            kept = end - stop
            view[:kept] = view[stop:end]


def _find_last_character(text: memoryview) -> int:
    """The offset of the last character of UTF-8, which may not be whole; of four bytes at most."""
    begins = (place for place in range(len(text) - 1, max(len(text) - 5, -1), -1) if text[place] & 0xC0 != 0x80)
    return next(begins, len(text))


def _describe_before(path: Path, encoding: str, offset: int) -> tuple[int, bool]:
    """The line, from 1, of the byte at an offset, and whether all bytes before it are ASCII."""
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    newlines = io.IncrementalNewlineDecoder(decoder, translate=True)
    line, is_ascii = 1, True
    with path.open("rb") as file:
        while offset > 0 and (chunk := file.read(min(_CHUNK_BYTES, offset))):
            offset -= len(chunk)
            is_ascii = is_ascii and chunk.isascii()
            line += newlines.decode(chunk).count("\n")
    return line + newlines.decode(b"", final=True).count("\n"), is_ascii
