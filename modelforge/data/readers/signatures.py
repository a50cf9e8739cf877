"""Rejects files of unsupported kinds by their first bytes, and suggests how to convert them.

Supported formats are recognised by their readers, packed files by `archives`.
"""

from __future__ import annotations

from pathlib import Path

from modelforge.errors import DatasetError

HEAD_BYTES = 8192

_AS_TABLE = "Save the table as CSV or .xlsx and use that."
_UNPACK = "Unpack it and use the file inside."
_AS_TEXT = "Save its text as a plain text file, or copy questions and answers into a table."

# (first bytes, kind of file, fix)
_FOREIGN = (
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file, or one with a password", _AS_TABLE),
    (b"%PDF", "a PDF", "Copy questions and answers into a table and save it as CSV."),
    (b"{\\rtf", "a formatted text (RTF)", _AS_TEXT),
    (b"<?xml", "an XML file", "Save its content as CSV or JSONL."),
    (b"BZh91AY&SY", "a bzip2 archive", _UNPACK),
    (b"\xfd7zXZ\x00", "an xz archive", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"Rar!\x1a", "a RAR archive", _UNPACK),
    (b"SQLite format 3\x00", "an SQLite database", "Export the table as CSV."),
    (b"version https://git-lfs", "a git-lfs pointer and not the file itself", "Download the file with `git lfs pull`."),
)
# A link that requires signing in saves such a page instead of the file.
_WEB_PAGE = (b"<!doctype html", b"<html")
_TAR_MARK = slice(257, 262)  # the place of "ustar" in the first header of a tar archive


def read_head(path: Path) -> bytes:
    """The first bytes. Raises DatasetError for a file that does not exist, cannot be read or is empty."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise DatasetError("This file does not exist.", where=str(path), fix="Check the path.") from error
    except OSError as error:
        raise DatasetError("This file cannot be read.", where=str(path), fix="Check its permissions.") from error
    if not head:
        raise DatasetError("The file is empty.", where=path.name, fix="Use a file with one example in each row.")
    return head


def refuse_foreign(head: bytes, name: str) -> None:
    """Raise DatasetError for an unsupported kind of file."""
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, kind, fix in _FOREIGN:
        if begin.startswith(magic):
            raise DatasetError(f"This is {kind}, which is not supported.", where=name, fix=fix)
    if begin[:20].lower().startswith(_WEB_PAGE):
        fix = "Download the file itself, or save the page's text as plain text."
        raise DatasetError("This is a web page, which is not supported.", where=name, fix=fix)
    if head[_TAR_MARK] == b"ustar":
        raise DatasetError("This is a tar archive, which is not supported.", where=name, fix=_UNPACK)
