from __future__ import annotations

import errno
import gc
import gzip
import io
import shutil
import struct
import zipfile
from types import SimpleNamespace

import openpyxl
import pyarrow
import pytest
from pyarrow import parquet

from modelforge import paths
from modelforge.data import limits
from modelforge.data.readers import archives, open_rows
from modelforge.errors import DatasetError, DiskFullError
from tests.data.readers.reading import places, values

JSONL = b'{"q": "1"}\n\n{"q": "2"}\n'


def pack(entries, **options):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", options.pop("compression", zipfile.ZIP_DEFLATED)) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return target.getvalue()


def left_over():
    return list(paths.cache_dir().glob("*")) if paths.cache_dir().exists() else []


def make_parquet():
    target = io.BytesIO()
    parquet.write_table(pyarrow.table({"q": ["1", "2"]}), target)
    return target.getvalue()


def make_excel():
    workbook, target = openpyxl.Workbook(), io.BytesIO()
    for cells in (["q"], ["1"], ["2"]):
        workbook.active.append(cells)
    workbook.save(target)
    return target.getvalue()


@pytest.mark.parametrize(
    ("content", "format"),
    [
        (JSONL, "jsonl"),
        (b'[{"q": "1"}, {"q": "2"}]', "json"),
        (b"q,a\n1,x\n2,y\n", "csv"),
        (b"q\ta\n1\tx\n2\ty\n", "tsv"),
        (make_parquet(), "parquet"),
        (make_excel(), "excel"),
    ],
    ids=["jsonl", "json", "csv", "tsv", "parquet", "excel"],
)
@pytest.mark.parametrize("packed", ["gzip", "zip"])
def test_packed_file_is_read_as_what_is_inside(write_file, content, format, packed):
    path = write_file("a.bin", gzip.compress(content) if packed == "gzip" else pack({"rows.data": content}))
    source = open_rows(path)
    assert (source.format, source.path) == (format, path)
    assert [row.values["q"] for row in source] == ["1", "2"]
    assert [row.values["q"] for row in source] == ["1", "2"]


def test_lines_are_those_of_the_file_inside(write_file):
    assert places(write_file("a.gz", gzip.compress(JSONL))) == [(1, 1), (2, 3)]


def test_unpacked_file_lives_as_long_as_its_source(write_file):
    source = open_rows(write_file("a.gz", gzip.compress(JSONL)))
    assert len(left_over()) == 1
    rows = iter(source)
    del source
    gc.collect()
    assert len(list(rows)) == 2  # what is being read is kept, too
    del rows
    gc.collect()
    assert not left_over()


@pytest.mark.parametrize("extra", ["__MACOSX/._rows.jsonl", ".DS_Store", "folder/.hidden", "folder/"])
def test_what_is_no_data_in_a_zip_is_left_aside(write_file, extra):
    content = pack({extra: b"" if extra.endswith("/") else b"junk", "folder/rows.jsonl": JSONL})
    assert len(values(write_file("a.zip", content))) == 2


@pytest.mark.parametrize("name", ["../../escaped.jsonl", "/absolute.jsonl", "C:\\x.jsonl", "a" * 200 + ".jsonl"])
def test_names_inside_never_become_paths(write_file, name, tmp_path):
    before = set(tmp_path.rglob("*"))
    source = open_rows(write_file("a.zip", pack({name: JSONL})))
    assert len(list(source)) == 2
    made = {path.name for path in set(tmp_path.rglob("*")) - before if path.is_file()}
    assert made == {"a.zip"}  # the archive itself and, under its name, what was in it


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (pack({"a.jsonl": JSONL, "b.jsonl": JSONL}), r"contains 2 files: 'a.jsonl', 'b.jsonl'"),
        (pack({f"{n}.csv": b"q,a\n" for n in range(30)}), r"contains 30 files: .*'9.csv', \.\.\.\."),
        (pack({"__MACOSX/a": b""}), "contains no file"),
        (pack({}), "contains no file"),
        (gzip.compress(gzip.compress(JSONL)), "archive inside an archive"),
        (pack({"a.zip": pack({"a.jsonl": JSONL})}), "archive inside an archive"),
        (gzip.compress(pack({"a.jsonl": JSONL})), "archive inside an archive"),
        (pack({"a.gz": gzip.compress(JSONL)}), "archive inside an archive"),
        (gzip.compress(b"a.jsonl" + b"\0" * 250 + b"ustar\x0000" + b"\0" * 300), "tar archive"),
        (gzip.compress(b"%PDF-1.7"), "PDF"),
        (gzip.compress(b""), "empty"),
        (gzip.compress(JSONL)[:-4], "damaged or cut off"),
        (gzip.compress(JSONL)[:15], "damaged or cut off"),
        (gzip.compress(JSONL)[:-8] + b"\0" * 8, "damaged or cut off"),
        (gzip.compress(JSONL * 100)[:20] + b"\xff" * 40, "damaged or cut off"),
        (pack({"a.jsonl": JSONL})[:-10], "damaged or cut off"),
        (pack({"a.jsonl": JSONL}, compression=zipfile.ZIP_STORED).replace(b'"1"', b'"9"'), "damaged or cut off"),
        (pack({"word/document.xml": b"", "[Content_Types].xml": b""}), "Word document"),
        (pack({"META-INF/manifest.xml": b"", "content.xml": b""}), "OpenDocument"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # gzip writes the time into its bytes
)
def test_archive_that_cannot_be_read_is_refused_and_leaves_nothing(write_file, content, said):
    with pytest.raises(DatasetError, match=said) as caught:
        open_rows(write_file("a.csv", content))
    assert caught.value.fix
    assert caught.value.where == "a.csv"
    del caught
    gc.collect()
    assert not left_over()


@pytest.mark.parametrize(("offset", "value", "said"), [(6, 1, "password"), (8, 77, "unsupported compression")])
def test_locked_and_strangely_packed_zips_are_refused(write_file, offset, value, said):
    content = bytearray(pack({"a.jsonl": JSONL}))
    for start in (content.index(b"PK\x03\x04"), content.index(b"PK\x01\x02") + 2):
        struct.pack_into("<H", content, start + offset, value)
    with pytest.raises(DatasetError, match=said):
        open_rows(write_file("a.zip", bytes(content)))


@pytest.mark.parametrize("packed", ["gzip", "zip"])
def test_archive_made_to_fill_a_disk_is_refused(write_file, packed, monkeypatch):
    content = b'{"q": "' + b" " * (4 << 20) + b'"}\n'
    path = write_file("a.zip", gzip.compress(content) if packed == "gzip" else pack({"a.jsonl": content}))
    assert len(values(path)) == 1
    with monkeypatch.context() as patch:
        patch.setattr(limits.Limits, "bytes", 3 << 20)
        with pytest.raises(DatasetError, match="has more than 3,146 kB of text"):
            open_rows(path)
    monkeypatch.setattr(archives, "MOST_BYTES", 3 << 20)
    with pytest.raises(DatasetError, match="unpacks to more than"):
        open_rows(path)
    gc.collect()
    assert not left_over()


@pytest.mark.parametrize("packed", ["gzip", "zip"])
def test_no_room_to_unpack_is_said_with_its_bytes(write_file, packed, monkeypatch):
    path = write_file("a.zip", gzip.compress(JSONL) if packed == "gzip" else pack({"a.jsonl": JSONL}))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=9, used=4, free=5))
    with pytest.raises(DiskFullError) as caught:
        open_rows(path)
    assert caught.value.free == 5
    assert caught.value.needed > 5


def test_disk_that_fills_up_while_unpacking_is_said(write_file):
    path = write_file("a.gz", gzip.compress(JSONL))

    paths.cache_dir().mkdir(parents=True)

    class Full(io.BytesIO):
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFullError), gzip.open(path) as content:
        archives._copy(content, Full(), path, limits.NO_LIMITS)
