"""Finds out how a file's text is encoded, and refuses what is no text. It does not look at what the text says."""

from __future__ import annotations

import codecs
from pathlib import Path

from modelforge.data.rows import Problem
from modelforge.errors import DatasetError

_HEAD_BYTES = 8192
_CHUNK_BYTES = 1 << 20

_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))

# First bytes of files that people try, what they are, and what to do.
_FOREIGN = (
    (
        b"PK\x03\x04",
        "an Excel workbook or a zip archive",
        "Save the table as CSV, or unpack the archive, and use that.",
    ),
    (b"\x1f\x8b", "a gzip archive", "Unpack it and use the file inside."),
    (b"PAR1", "a Parquet file", "Save it as JSONL or CSV."),
    (b"ARROW1", "an Arrow file", "Save it as JSONL or CSV."),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file", "Save the table as CSV and use that."),
    (b"%PDF", "a PDF", "Put questions and answers into a table and save it as CSV."),
)


def detect_encoding(path: Path) -> tuple[str, Problem | None]:
    """The encoding of a text file (utf-8, utf-8-sig, utf-16, cp1252) and a warning where it was not certain.

    Reads the file once, so that decoding cannot fail later. Raises DatasetError for what cannot be read as text.
    """
    where = path.name
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        raise DatasetError("There is no such file.", where=str(path), fix="Check the path.") from error
    except OSError as error:
        raise DatasetError("This cannot be read.", where=str(path), fix="Give a file that you may read.") from error
    if not head:
        raise DatasetError("The file is empty.", where=where, fix="Give a file with one example in each row.")
    for magic, kind, fix in _FOREIGN:
        if head.startswith(magic):
            raise DatasetError(f"This is {kind}, which cannot be read here.", where=where, fix=fix)
    encoding = next((name for bom, name in _BOMS if head.startswith(bom)), "utf-8")
    if encoding == "utf-8" and b"\0" in head:
        raise DatasetError("This is not a text file.", where=where, fix="Give a JSONL, JSON or CSV file.")
    fault = _find_undecodable(path, encoding)
    if fault is None:
        return encoding, None
    line, byte, is_utf8 = fault
    if encoding == "utf-8" and not is_utf8 and _find_undecodable(path, "cp1252") is None:
        problem = f"Byte 0x{byte:02X} is not UTF-8, so the file was read as Windows-1252; accents may be wrong."
        return "cp1252", Problem("warning", None, line, None, problem, "Save the file as UTF-8.")
    raise DatasetError(
        f"Byte 0x{byte:02X} in line {line} does not belong in text of encoding {encoding}.",
        where=where,
        fix="Save the file as UTF-8.",
    )


def _find_undecodable(path: Path, encoding: str) -> tuple[int, int, bool] | None:
    """Line (from 1) and value of the first byte that does not fit; whether others beyond ASCII did before it."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line, any_decoded = 1, False
    with path.open("rb") as file:
        while True:
            chunk = file.read(_CHUNK_BYTES)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                good = error.object[: error.start]
                line += good.decode(encoding, errors="ignore").count("\n")
                return line, error.object[error.start], any_decoded or not good.isascii()
            line += text.count("\n")
            any_decoded = any_decoded or not text.isascii()
            if not chunk:
                return None
