"""A text file as one text: in any encoding, from an archive, bounded; what is not text is refused with a sentence."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from modelforge.data.readers.whole import read_whole
from modelforge.errors import DatasetError

TEXT = "# Häfen\n\nThe boat, the door; the lamp.\na,b\n1,2\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_text_in_any_encoding_is_read_as_it_is(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "page.md"
    file.write_text(TEXT, encoding=encoding)
    assert read_whole(file, 1000) == (TEXT, True)
    assert read_whole(file, 7) == (TEXT[:7], False)
    assert read_whole(file, len(TEXT)) == (TEXT, True)


def test_packed_text_is_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "page.txt.gz"
    file.write_bytes(gzip.compress(TEXT.encode()))
    assert read_whole(file, 1000) == (TEXT, True)


@pytest.mark.parametrize(
    "content", [b"", b"  \n ", b"%PDF-1.7 x", b"\x00\x01\x02" * 900, b"PK\x03\x04" + b"\0" * 99, b"<!doctype html>x"]
)
def test_what_is_not_text_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "page.txt"
    file.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        read_whole(file, 1000)
    assert caught.value.fix
    with pytest.raises(DatasetError):
        read_whole(tmp_path / "missing.txt", 1000)
