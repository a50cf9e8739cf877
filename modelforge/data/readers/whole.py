"""A text file as one text, such as a document to summarize; packed or not, in any encoding that rows may have."""

from __future__ import annotations

from pathlib import Path

from modelforge.data.limits import find_limits
from modelforge.data.readers import read_head, refuse_foreign
from modelforge.data.readers.archives import find_packing, unpack
from modelforge.data.readers.encodings import detect_encoding
from modelforge.errors import DatasetError


def read_whole(path: Path, most_characters: int) -> tuple[str, bool]:
    """The text of a file, at most so many characters of it; and whether that is all. Raises DatasetError for a file
    that is not text, DiskFullError."""
    head = read_head(path)
    packed = find_packing(path, head)
    unpacked = unpack(path, packed, find_limits(path)) if packed else None
    place = unpacked.path if unpacked else path
    head = read_head(place)
    refuse_foreign(head, path.name)
    encoding, _ = detect_encoding(place, head)
    with place.open(encoding=encoding) as file:
        text = file.read(most_characters)
        is_whole = not file.read(1)
    if not text.strip():
        raise DatasetError("The file contains only blank lines.", where=path.name, fix="Use a file with text.")
    return text, is_whole
