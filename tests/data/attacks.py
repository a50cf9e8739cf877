"""Files that are small, or at least honest, and made to take the memory or the hours of a machine.

Run as a program it checks files, each in a process of its own, and prints what each took:
`python -m tests.data.attacks FILE...`.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq

MOST_MEMORY = 2 << 30  # bytes
MOST_SECONDS = 20  # of the processor's time
_ROOM = 6 << 30  # of addresses, so that a check of the code before fails and the machine does not

_TYPES = "[Content_Types].xml"
PAIR = '{"question":"a","answer":"b"}\n'


def dump(row: Any) -> str:
    return json.dumps(row) + "\n"


def write_parquet(columns: Mapping[str, Any]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, compression="zstd")
    return file.getvalue()


def write_arrow(columns: Mapping[str, Any]) -> bytes:
    file, table = io.BytesIO(), pa.table(columns)
    with pa.ipc.new_file(file, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return file.getvalue()


def repeat(text: str, count: int) -> Any:
    """A column of one text that is stored once."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([text]))


def write_workbook(parts: Mapping[str, str], types: str = "") -> bytes:
    """A workbook of a few rows with these parts besides its own or in place of them."""
    plain, packed = io.BytesIO(), io.BytesIO()
    workbook = openpyxl.Workbook()
    for cells in (["question", "answer"], ["a", "b"], ["c", "d"]):
        workbook.active.append(cells)
    workbook.save(plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        whole = {name: old.read(name).decode() for name in old.namelist()} | parts
        whole[_TYPES] = whole[_TYPES].replace("</Types>", f"{types}</Types>")
        for name, content in whole.items():
            new.writestr(name, content)
    return packed.getvalue()


def write_sheet(rows: str) -> bytes:
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    head = (
        "<row>" + "".join(f'<c t="inlineStr"><is><t>{name}</t></is></c>' for name in ("question", "answer")) + "</row>"
    )
    sheet = f'<worksheet xmlns="{space}"><sheetData>{head}{rows}</sheetData></worksheet>'
    return write_workbook({"xl/worksheets/sheet1.xml": sheet})


def write_strings(count: int) -> bytes:
    """With shared strings, as Excel writes them and openpyxl does not."""
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    strings = f'<sst xmlns="{space}">{"<si><t>a</t></si>" * count}</sst>'
    types = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/>'
    return write_workbook({"xl/sharedStrings.xml": strings}, types)


def write_styles(count: int) -> bytes:
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    styles = f'<styleSheet xmlns="{space}"><cellXfs>{"<xf/>" * count}</cellXfs></styleSheet>'
    return write_workbook({"xl/styles.xml": styles})


def pack(content: bytes, method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("rows.jsonl", content)
    return file.getvalue()


def nest(depth: int) -> Any:
    kind = pa.string()
    for _ in range(depth):
        kind = pa.list_(kind)
    return kind


def write_wide_table(columns: int) -> str:
    names = ",".join(f"c{number}" for number in range(columns))
    return f"question,answer,{names}\n" + "".join(f"q{n},a{n}{',1' * columns}\n" for n in range(20))


Attack = tuple[Callable[[], str | bytes], str]
"""The content of a file, and a part of the problem that is told of it, "" if it is read as it is."""

# Those that the issue names, in the sizes it names, and one of each kind, each checked in a second or two.
FAST: dict[str, Attack] = {
    "two lines of 40 MB": (
        lambda: "".join(dump({"question": f"q{n}", "answer": "word " * 8_000_000}) for n in range(2)),
        "more than 16,000,000 characters",
    ),
    "20,000 distinct keys": (
        lambda: "".join(dump({"question": f"q{n}", "answer": f"a{n}", f"k{n}": n}) for n in range(20_000)),
        "more than 5,000 columns up to row 4999 (line 4999)",
    ),
    "40,000 columns": (lambda: write_wide_table(40_000), "more than 5,000 columns"),
    "Parquet that repeats a text of 1 MB": (
        lambda: write_parquet({"question": repeat("word " * 200_000, 10_000), "answer": repeat("b", 10_000)}),
        "more than 32 MB of text",
    ),
    "6 million shared strings": (lambda: write_strings(6_000_000), "unpacks to"),
    "2 million shared strings": (lambda: write_strings(2_000_000), "XML elements in its strings"),
    "keys of one row": (
        lambda: PAIR + "{" + ",".join(f'"{n:x}":1' for n in range(90_000)) + "}\n" + PAIR,
        "more than 5,000 columns up to row 2 (line 2)",
    ),
    "wide rows, then 100,000 empty ones": (
        lambda: dump({f"{n:x}": 1 for n in range(4000)}) * 3 + PAIR * 100 + "{}\n" * 100_000,
        "This column is missing",
    ),
    "Parquet of 10 million equal rows": (
        lambda: write_parquet({"question": repeat("a", 10_000_000), "answer": repeat("b", 10_000_000)}),
        "rows, too much for a file",
    ),
    "Parquet with a list of 10 million values": (
        lambda: write_parquet({"question": ["a", "b"], "x": pa.array([np.zeros(10_000_000, np.int8), []])}),
        "more than 4,00",
    ),
    "Arrow of nulls without any bytes": (lambda: write_arrow({"question": pa.nulls(500_000_000)}), "rows, too much"),
    "Arrow with a packed text of 200 MB": (
        lambda: write_arrow({"question": ["a " * 100_000_000, "b"], "answer": ["b", "c"]}),
        "of text, too much for a file of",
    ),
    "Arrow that repeats a text": (lambda: write_arrow({"question": repeat("word " * 100_000, 50_000)}), "of text"),
    "gzip of 7 million rows": (lambda: gzip.compress(b"{}\n" * (7 << 20)), "rows, too much for a file"),
    "gzip of a list of 5 million objects": (
        lambda: gzip.compress(b'{"x":[' + b"{}," * (5 << 20) + b'{}],"data":[]}'),
        "rows, too much for a file",
    ),
    "zip with a bzip2 bomb": (lambda: pack(b"\n" * (64 << 20), zipfile.ZIP_BZIP2), "unsupported compression"),
    "sheet of one million empty rows": (lambda: write_sheet("<row/>" * 5_000_000), "XML elements in its sheets"),
    "sheet whose every row ends in the last column": (
        lambda: write_sheet("".join(f'<row r="{n}"><c r="XFD{n}"/></row>' for n in range(2, 20_000))),
        "values, too much for a file",
    ),
    "packed CSV with a quote that is never closed": (
        lambda: gzip.compress(b"question,answer\n" + b'"' * 30_000_001),
        "quote is opened in it and never closed",
    ),
    "800,000 styles": (lambda: write_styles(800_000), "XML elements in its parts"),
}

# Files of up to 1 MB that are read to their end, or nearly.
SLOW: dict[str, Attack] = {
    "objects without keys": (lambda: PAIR + "{}\n" * 300_000, "This column is missing"),
    "equal rows": (lambda: PAIR * 33_000, "rows are identical"),
    "lines that are not JSON": (lambda: PAIR * 300 + "{\n" * 110_000, "not valid JSON"),
    "questions with many answers": (
        lambda: "".join(f'{{"question":"a","answer":"{n:x}"}}\n' for n in range(28_000)),
        "another answer",
    ),
    "near-duplicates": (lambda: "".join(f'{{"text":"a b c d e f g h i j {n}"}}\n' for n in range(26_000)), "near-dup"),
    "near-duplicates of 60,000 words": (
        lambda: gzip.compress("".join(dump({"text": "word " * 60_000 + str(n)}) for n in range(40)).encode()),
        "near-dup",
    ),
    "rows of 15 million characters that differ inside": (
        lambda: gzip.compress(
            "".join(dump({"text": f"{'a ' * 3_900_000}{n}{' a' * 3_900_000}"}) for n in range(2)).encode()
        ),
        "near-dup",
    ),
    "broken objects, one after another": (lambda: '{"a":\n' + "{\n" * 470_000, "not valid JSON"),
    "lists in lists": (lambda: PAIR + '{"question":"a","answer":"b","x":[' + "[]," * 310_000 + "[]]}\n" + PAIR, ""),
    "one context for 6,000 questions": (
        lambda: json.dumps({"data": [{"paragraphs": [{"context": "c" * 400_000, "qas": [{"question": "q"}] * 6000}]}]}),
        "of text, too much",
    ),
    "cells": (lambda: "question,answer\n" + "a,b\n" * 75_000, "identical"),
    "header of 5,000 names": (
        lambda: write_wide_table(4_990) + ("a,b" + "," * 4_990 + "\n") * 160,
        "identical",
    ),
    "paragraphs": (lambda: "Hello there.\n" + "a\n" * 100_000, "identical"),
    "Parquet nested 90 deep": (lambda: write_parquet({"question": ["a"] * 1000, "x": pa.nulls(1000, nest(90))}), ""),
    "Parquet of 4,000 columns": (lambda: write_parquet({f"c{n}": ["a"] for n in range(4000)}), "No column"),
    "Parquet that repeats a text of 10 kB": (
        lambda: write_parquet({"question": repeat("word " * 2000, 9000), "answer": repeat("b", 9000)}),
        "of text, too much",
    ),
    "sheet of 100,000 rows": (
        lambda: write_sheet(('<row><c t="inlineStr"><is><t>a</t></is></c>' + "<c><v>1</v></c></row>") * 100_000),
        "number",
    ),
}


def write_attack(folder: Path, name: str, attack: Attack) -> Path:
    content = attack[0]()
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def check_bounded(path: Path) -> dict[str, Any]:
    """The problems of a file, and the seconds and bytes that its check took, in a process that cannot take more."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        from modelforge.data.checks import check

        resource.setrlimit(resource.RLIMIT_AS, (_ROOM, _ROOM))
        resource.setrlimit(resource.RLIMIT_CPU, (2 * MOST_SECONDS, 2 * MOST_SECONDS))
        problems = [problem.problem for problem in check(path).problems[:100]]
        os.write(writing, json.dumps(problems).encode()[:60_000])
        os._exit(0)
    os.close(writing)
    _, status, usage = os.wait4(child, 0)
    with open(reading, "rb") as answer:  # noqa: PTH123 - a pipe
        written = answer.read()
    return {
        "problems": json.loads(written) if status == 0 else [f"It ended with {status}."],
        "ended": status == 0,
        "seconds": usage.ru_utime + usage.ru_stime,
        "bytes": usage.ru_maxrss * 1024,
    }


if __name__ == "__main__":
    print(json.dumps([check_bounded(Path(path)) for path in sys.argv[1:]]))
