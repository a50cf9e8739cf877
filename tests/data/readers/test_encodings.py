from __future__ import annotations

import codecs

import pytest

from modelforge.data.readers import encodings, open_rows
from modelforge.errors import DatasetError
from tests.data.readers.reading import problems, read, values


@pytest.mark.parametrize(
    "encoded",
    [
        (b"", "utf-8", "utf-8"),
        (codecs.BOM_UTF8, "utf-8", "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16-le", "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16-be", "utf-16"),
        (b"", "utf-16-le", "utf-16-le"),
        (b"", "utf-16-be", "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le", "utf-32"),
        (b"", "cp1252", "cp1252"),
    ],
)
@pytest.mark.parametrize(
    ("content", "format"),
    [
        ("Frage,Antwort\nschön?,ja\n", "csv"),
        ('{"Frage": "schön?"}\n{"Frage": "ja"}\n', "jsonl"),
        ('[{"Frage": "schön?"}]', "json"),
    ],
)
def test_encoding_is_found_out_in_every_text_format(write_file, encoded, content, format):
    bom, encoding, named = encoded
    source = open_rows(write_file("a", bom + content.encode(encoding)))
    assert (source.encoding, source.format, source.columns[0]) == (named, format, "Frage")
    assert next(iter(source)).values["Frage"] == "schön?"
    line = 1 + content[: content.index("ö")].count("\n")
    assert [warning.line for warning in source.warnings] == ([line] if named == "cp1252" else [])


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_first_odd_byte_is_named_with_its_line_whatever_ends_the_lines(write_file, ending, monkeypatch):
    monkeypatch.setattr(encodings, "_CHUNK_BYTES", 7)  # so that endings and letters are cut in two
    content = ending.join(["q,a", "schön,ja", "b\udcffd,x", ""]).encode(errors="surrogateescape")
    with pytest.raises(DatasetError, match=r"0xFF in line 3 .*utf-8"):
        open_rows(write_file("a.csv", content))


def test_utf8_is_found_whereever_its_letters_are_cut(write_file, monkeypatch):
    text = "aé€😀" * 5
    path = write_file("a.csv", f"question,answer\n{text},x\n")
    for size in range(1, 12):
        monkeypatch.setattr(encodings, "_CHUNK_BYTES", size)
        assert open_rows(path).encoding == "utf-8"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        "aé€😀".encode(),
        b"\xed\xa0\x80",  # half of a pair of UTF-16
        b"\xc0\xaf",  # longer than needed
        b"\xf4\x90\x80\x80",  # beyond Unicode
        b"\xbf\xbf\xbf\xbf\xbf",  # no beginning
        "€".encode()[:-1],
        b"a\xff" + b"x" * 70,
    ],
)
def test_arrow_and_python_agree_on_what_utf8_is(tmp_path, content, size, monkeypatch):
    monkeypatch.setattr(encodings, "_CHUNK_BYTES", size)
    (tmp_path / "a").write_bytes(b"abc" + content)
    try:
        content.decode()
        expected = True
    except UnicodeDecodeError:
        expected = False
    assert encodings._is_utf8(tmp_path / "a") is expected


def test_file_that_ends_within_a_letter_is_cut_off(write_file):
    with pytest.raises(DatasetError, match="cut off: it ends in line 2 in the middle of a character"):
        open_rows(write_file("a.jsonl", '{"q": "ö"}\n{"q": "€'.encode()[:-1]))


def test_few_zero_characters_are_text_and_many_are_not(write_file):
    few = "question,answer\n" + "What is it?,A lamp.\n" * 100 + "a\0b,c\n"
    assert values(write_file("a.csv", few))[-1] == {"question": "a\0b", "answer": "c"}
    with pytest.raises(DatasetError, match="not a text file"):
        open_rows(write_file("b.csv", "question,answer\n" + "a\0b,c\n" * 100))


def test_odd_byte_far_into_a_large_ascii_file_is_found(write_file):
    content = b"question,answer\n" + b"x,yyyy\n" * 8000 + b"x" * (3 << 20) + b",y\n" + b"caf\xe9,y\n"
    source = open_rows(write_file("a.csv", content))
    assert (source.encoding, source.warnings[0].line) == ("cp1252", 8003)
    assert read(source.path)[-1].values["question"] == "café"
    assert not problems(source.path)
