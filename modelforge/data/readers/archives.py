"""Unpacks gzip and zip files into a temporary file, with size limits.

Names of entries never become paths: the unpacked file has the archive's name, in a separate folder.
"""

from __future__ import annotations

import gzip
import shutil
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Literal, cast

from modelforge import paths
from modelforge.data.limits import Limits
from modelforge.data.readers.excel import is_workbook
from modelforge.errors import DatasetError, check_space, report_full_disk
from modelforge.store.leftovers import begin_folder

Packing = Literal["gzip", "zip", ""]

MOST_BYTES = 8 << 30
_CHUNK_BYTES = 1 << 20
_CHECKED_BYTES = 64 << 20  # between two checks of the free space, and what is left free
_LISTED = 10

# Documents that are zip archives, each with an entry that identifies it.
_DOCUMENTS = (
    ("word/document.xml", "a Word document", "Save its text as plain text, or its table as CSV."),
    ("ppt/presentation.xml", "a PowerPoint presentation", "Copy questions and answers into a table."),
    ("xl/workbook.bin", "a binary Excel workbook", "Save it as .xlsx or CSV."),
    ("META-INF/manifest.xml", "an OpenDocument file", "Save the table as .xlsx or CSV."),
)


class Unpacked:
    """An unpacked file, deleted when this object is garbage collected or at exit."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / name
        self.delete = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)


def find_packing(path: Path, head: bytes) -> Packing:
    """How a file that begins with `head` is packed; "" if it is not. A workbook is a zip archive, but not packed."""
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    return "zip" if head.startswith((b"PK\x03\x04", b"PK\x05\x06")) and not is_workbook(path) else ""


def unpack(path: Path, packing: Packing, limits: Limits) -> Unpacked:
    """Unpack the only file of an archive. Raises DatasetError if it is damaged, locked, too large or has several files,
    DiskFullError."""
    unpacked = Unpacked(begin_folder(paths.cache_dir()), path.name)
    try:
        with _open_content(path, packing) as content, unpacked.path.open("wb") as target:
            _copy(content, target, path, limits)
    except BaseException:
        unpacked.delete()
        raise
    return unpacked


def _copy(content: IO[bytes], target: IO[bytes], path: Path, limits: Limits) -> None:
    written, lines, unchecked = 0, 0, _CHECKED_BYTES
    while chunk := content.read(_CHUNK_BYTES):
        written += len(chunk)
        unchecked += len(chunk)
        lines += chunk.count(b"\n") + chunk.count(b"\r")
        limits.check(path.name, rows=lines // 2, bytes=written)  # both for a line that ends in \r\n
        if written > MOST_BYTES:
            _refuse_size(path)
        if unchecked > _CHECKED_BYTES:
            check_space(paths.cache_dir(), _CHECKED_BYTES)
            unchecked = 0
        with report_full_disk(paths.cache_dir(), written):
            target.write(chunk)


@contextmanager
def _open_content(path: Path, packing: Packing) -> Iterator[IO[bytes]]:
    """The content of the archive as a stream. Any read can fail, so errors are mapped around its whole use."""
    try:
        if packing == "gzip":
            with gzip.open(path) as content:
                yield cast(IO[bytes], content)
        else:
            with zipfile.ZipFile(path) as archive, archive.open(_find_entry(archive, path)) as content:
                yield content
    except (gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, EOFError) as error:
        kind = "gzip archive" if packing == "gzip" else "zip archive or Excel workbook"
        fix = "Download the whole file again, or unpack it and use the file inside."
        raise DatasetError(f"This {kind} is damaged or cut off.", where=path.name, fix=fix) from error
    except NotImplementedError as error:  # an unknown compression or encryption
        fix = "Unpack it and use the file inside."
        raise DatasetError("This zip archive uses an unsupported compression.", where=path.name, fix=fix) from error


def _find_entry(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    """The only data file of an archive."""
    names = archive.namelist()
    for name, kind, fix in _DOCUMENTS:
        if name in names:
            raise DatasetError(f"This is {kind}, which is not supported.", where=path.name, fix=fix)
    entries = [entry for entry in archive.infolist() if not entry.is_dir() and not _is_hidden(entry.filename)]
    if len(entries) != 1:
        listed = ", ".join(repr(entry.filename) for entry in entries[:_LISTED])
        listed += ", ..." if len(entries) > _LISTED else ""
        content = f"{len(entries)} files: {listed}" if entries else "no file"
        fix = "Unpack it and use one file, or copy all rows into one."
        raise DatasetError(f"This zip archive contains {content}.", where=path.name, fix=fix)
    (entry,) = entries
    if entry.flag_bits & 1:
        fix = "Unpack it and use the file inside."
        raise DatasetError("This zip archive is protected with a password.", where=path.name, fix=fix)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NotImplementedError  # Python unpacks whole blocks of the others, however large they become
    if entry.file_size > MOST_BYTES:
        _refuse_size(path)
    check_space(paths.cache_dir(), entry.file_size)
    return entry


def _is_hidden(name: str) -> bool:
    """What macOS and editors add to archives."""
    place = PurePosixPath(name)
    return place.name.startswith(".") or "__MACOSX" in place.parts


def _refuse_size(path: Path) -> None:
    raise DatasetError(
        f"This archive unpacks to more than {MOST_BYTES / 1e9:.1f} GB.",
        where=path.name,
        fix="Unpack it yourself, check its content, and use that file.",
    )
