from __future__ import annotations

import gzip

import pytest

from modelforge.data.readers import FORMATS, open_rows
from modelforge.errors import DatasetError
from tests.data.readers.reading import read


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b" \n\t\n", "blank"),
        (b"PK\x03\x04rest", "Excel workbook is damaged"),
        (b"\x1f\x8brest", "gzip archive is damaged"),
        (b"PAR1rest", "Parquet file is damaged"),
        (b"ARROW1\0\0rest", "Arrow file is damaged"),
        (b"\xff\xff\xff\xff\x10\x00\x00\x00", "Arrow file is damaged"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not a text file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest", "old Excel"),
        (b"%PDF-1.7\nrest", "PDF"),
        (b"{\\rtf1\\ansi Hello}", "RTF"),
        (b"<!DOCTYPE html>\n<p>Hello, you</p>\n", "web page"),
        (b"\n <HTML><p>Sign in to download</p>", "web page"),
        (b'<?xml version="1.0"?><rows/>', "XML"),
        (b"BZh91AY&SYrest", "bzip2"),
        (b"\xfd7zXZ\x00rest", "xz"),
        (b"\x28\xb5\x2f\xfdrest", "Zstandard"),
        (b"Rar!\x1a\x07rest", "RAR"),
        (b"7z\xbc\xaf\x27\x1crest", "7-Zip"),
        (b"SQLite format 3\x00rest", "SQLite"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs"),
        (b"rows.jsonl" + b"\0" * 247 + b"ustar\x0000" + b"\0" * 200, "tar archive"),
        (b"q,q\n1,2\n", "Two columns"),
    ],
)
def test_foreign_file_is_refused_in_one_sentence_with_a_way_out(write_file, content, said):
    with pytest.raises(DatasetError, match=said) as caught:
        list(open_rows(write_file("a.csv", content)))
    assert caught.value.fix
    assert "a.csv" in caught.value.where


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="does not exist"):
        open_rows(tmp_path / "nothing.csv")
    with pytest.raises(DatasetError, match="cannot be read"):
        open_rows(tmp_path)


def test_columns_of_json_are_those_of_all_sampled_rows(write_jsonl):
    assert open_rows(write_jsonl([{"a": "1"}, {"b": "2", "a": "1"}])).columns == ("a", "b")


def test_sample_is_the_good_ones_among_the_first_200_rows(write_file):
    lines = ['{"n": 1}', "broken", *(f'{{"n": {n}}}' for n in range(3, 400))]
    sample = open_rows(write_file("a.jsonl", "\n".join(lines))).sample
    assert [row.number for row in sample] == [1, *range(3, 201)]


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.xlsx", "a.parquet", "a"])
@pytest.mark.parametrize(
    ("content", "format"),
    [
        ('{"q": "1"}\n{"q": "2"}\n', "jsonl"),
        ('[{"q": "1"}]', "json"),
        ("question,answer\n1,2\n", "csv"),
        ("question\tanswer\n1\t2\n", "tsv"),
        ("Once upon a time, there was a lamp.\n", "text"),
    ],
)
def test_content_and_not_the_name_decides_the_format(write_file, name, content, format):
    source = open_rows(write_file(name, content))
    assert source.format == format
    assert format in FORMATS


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        "".join(f'{{"text": "{n}"}}\n' for n in range(20_000)),
        "[" + ",\n".join(f'{{"text": "{n}"}}' for n in range(20_000)) + "]",
        "text,b\n" + "".join(f"{n},x\n" for n in range(20_000)),
        "\n\n".join(f"Paragraph {n}." for n in range(20_000)),
    ],
    ids=["jsonl", "json", "csv", "text"],
)
def test_every_iteration_begins_anew_and_moves_the_position_from_0_to_1(write_file, content, packed):
    content = content.encode()
    source = open_rows(write_file("a", gzip.compress(content) if packed else content))
    assert source.position.share == 0
    for _ in range(2):
        shares = []
        for number, row in enumerate(source, start=1):
            assert row.number == number
            shares.append(source.position.share)
        assert number == 20_000
        assert shares == sorted(shares)
        assert all(0 <= share <= 1 for share in shares)
        assert source.position.share == 1


def test_two_iterations_at_once_do_not_disturb_each_other(write_jsonl):
    source = open_rows(write_jsonl({"n": n} for n in range(10)))
    for first, second in zip(source, source, strict=True):
        assert first == second


@pytest.mark.parametrize("exact_numbers", [False, True])
@pytest.mark.parametrize("form", ["{}\n", "[{}]"], ids=["jsonl", "json"])
def test_exact_numbers_say_how_they_were_written(write_file, form, exact_numbers):
    row = '{"price": 1.10, "big": 12345678901234567890123, "inner": {"n": [-0.0]}, "yes": true, "no": null}'
    (found,) = read(write_file("a.json", form.replace("{}", row)), exact_numbers=exact_numbers)
    assert found.values["price"] == 1.1
    assert (found.values["yes"], found.values["no"]) == (True, None)
    if exact_numbers:
        assert str(found.values["price"]) == "1.10"
        assert str(found.values["big"]) == "12345678901234567890123"
        assert str(found.values["inner"]["n"][0]) == "-0.0"
