"""A CSV read in columns has the rows, numbers, lines and problems of one that is read row by row."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelforge.data.columns import guess, read_clean_arrays
from modelforge.data.readers import open_rows, table, table_blocks
from modelforge.data.rows import Position, Problem, Row

MANY = [[f"What is {n}?", f"It is {n}, said the other one.", str(n)] for n in range(9000)]


def write(rows, newline="\n", **options):
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator=newline, **options)
    writer.writerows([["question", "answer", "id"], *rows])
    return file.getvalue()


def read_both(path: Path):
    """The rows of a file read one by one; those read in blocks, with only the used columns; how many blocks had
    columns."""
    source = open_rows(path)
    mapping = guess(source.columns, [row.values for row in source.sample])
    used = tuple(mapping.columns.values())

    def shorten(row):
        return Row(row.number, row.line, {name: row.values.get(name) for name in used}) if type(row) is Row else row

    one_by_one = [shorten(row) for row in source]
    found: list[Row | Problem] = []
    in_columns = 0
    for block in source.blocks(used, lambda columns: read_clean_arrays(mapping, columns)):
        if block.clean is None:
            found += [shorten(row) for row in block.rows]
            continue
        in_columns += 1
        roles = {column: role for role, column in mapping.columns.items()}
        texts = [block.clean.texts[roles[name]].to_pylist() for name in used]
        for place, (line, *values) in enumerate(zip(block.lines, *texts, strict=True)):
            found.append(Row(block.number + place, line, dict(zip(used, values, strict=True))))
    return one_by_one, found, in_columns


QUOTED = [[f'Is "{n}"\nthe "best"?', f'"{n}", said\r\nthe "other", one.', ""] for n in range(3000)]

PLAIN = {
    "unquoted": write(MANY),
    "windows": write(MANY, "\r\n"),
    "quoted": write(MANY, quoting=csv.QUOTE_ALL),
    "line breaks and quotes in cells": write(QUOTED),
    "semicolons": write(MANY, delimiter=";"),
    "tabs": write(MANY, delimiter="\t"),
    "no last line ending": write(MANY).rstrip("\n"),
    "blank lines": write(MANY).replace("What is 7", "\n\nWhat is 7"),
    "blank lines of windows": write(MANY, "\r\n").replace("What is 7", "\r\n\r\nWhat is 7"),
    "beyond ASCII": write([[f"Où est «{n}» ?", f"Là, à côté de l'arbre №{n}.", ""] for n in range(5000)]),
    "byte order mark": "\ufeff" + write(MANY),
    "declared delimiter": "sep=;\n" + write(MANY, delimiter=";"),
    "white space around cells": write([[f" {question}", f"{answer}\t", number] for question, answer, number in MANY]),
    "empty cells": write([[question, answer, ""] for question, answer, _ in MANY]),
    "a long cell": write([*MANY, ["q", "word " * 700_000, ""], *MANY]),
}


@pytest.mark.parametrize("content", PLAIN.values(), ids=PLAIN)
def test_columns_have_the_rows_that_are_read_one_by_one(write_file, content):
    one_by_one, found, in_columns = read_both(write_file("a.csv", content))
    assert found == one_by_one
    assert in_columns > 0


def spoil(place, old, new):
    """A file of many rows with something unusual after some of them."""
    return (
        write(MANY).replace(f"It is {place}, said", old + str(place) + new, 1).replace(f"What is {place + 1}?", "", 1)
    )


ODD = {
    "a cell too many": write([*MANY[:6000], ["a", "b", "c", "d"], *MANY[6000:]]),
    "a cell too few": write([*MANY[:6000], ["a", "b"], *MANY[6000:]]),
    "cells of a blank row": write([*MANY[:6000], ["", " ", ""], *MANY[6000:]]),
    "text after a quote": spoil(6000, '"It" is ', ", said"),
    "a quote in an unquoted cell": spoil(6000, 'It is 5" ', " said"),
    "a quote that is never closed": spoil(6000, ',"It is ', " said"),
    "a carriage return": spoil(6000, "It\ris ", " said"),
    "only carriage returns": write(MANY, "\r"),
    "a NUL": spoil(6000, "It\0is ", " said"),
    "a byte order mark in a cell": write([["\ufeffa", "\ufeffb", "\ufeffc"]] * 60_000),
    "spaces before quotes": '"question", "answer", "id"\n' + '"a", "b, c", "d"\n' * 5000,
}


@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
def test_what_csv_reads_otherwise_or_rejects_is_told_as_it_tells_it(write_file, content):
    one_by_one, found, _ = read_both(write_file("a.csv", content))
    assert found == one_by_one


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from('ab ",,\n\n\r\u00e9'), max_size=60))
def test_any_text_is_read_alike_in_parts_of_any_size(tmp_path, monkeypatch, text):
    path = tmp_path / "a.csv"
    path.write_bytes(("question,answer\nWhat?,That.\n" + text).encode())
    monkeypatch.setattr(table_blocks, "_CHUNK_BYTES", 20)
    one_by_one = list(table.read(path, "utf-8", Position(), exact_numbers=False))
    found: list[Row | Problem] = []
    names = ("question", "answer")
    mapping = guess(names, [{"question": "a", "answer": "b"}])
    for block in table.read_blocks(path, "utf-8", Position(), names, lambda some: read_clean_arrays(mapping, some)):
        if block.clean is None:
            found += block.rows
        else:
            both = zip(*(block.clean.texts[role].to_pylist() for role in ("prompt", "response")), strict=True)
            numbers = range(block.number, block.number + block.length)
            found += [
                Row(*place, dict(zip(names, row, strict=True)))
                for *place, row in zip(numbers, block.lines, both, strict=True)
            ]
    assert found == one_by_one
