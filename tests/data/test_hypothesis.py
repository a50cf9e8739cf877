"""Files that nobody would write by hand: whatever stands in them, they get a report, and it is true."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelforge.data.checks import check
from modelforge.data.columns import apply
from modelforge.data.prepare import prepare, read_rows
from modelforge.data.repairs import REPAIRS
from modelforge.data.report import Report
from modelforge.errors import DatasetError
from modelforge.paths import home
from modelforge.tasks import SHAPES

pytestmark = pytest.mark.slow

# One folder serves all cases of a test; each case writes its file anew.
OFTEN = settings(
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def examine(path: Path, content: bytes, *, repairs: Iterable[str] = (), packed: bool = False) -> Report:
    """Check a file, and the report of it: nothing is raised, and its numbers fit the file and each other."""
    path.write_bytes(content)
    report = check(path, repairs=repairs)
    everything = list(report.all_problems)
    mapped = list(report.mapped_rows)
    assert report.rows >= len(mapped)
    assert report.ok == (report.counts.errors == 0)
    assert [problem.severity for problem in everything].count("error") == report.counts.errors
    assert [problem.severity for problem in everything].count("warning") == report.counts.warnings
    assert len(report.problems) == min(1000, len(everything))
    lines = content.count(b"\n") + content.count(b"\r") + 1
    for problem in everything:
        assert problem.row is None or 1 <= problem.row <= report.rows
        assert problem.line is None or packed or 1 <= problem.line <= lines
        assert problem.problem
        assert problem.fix
    numbers = [report.mapped_rows.number(index) for index in range(len(mapped))]
    assert numbers == sorted(set(numbers))
    assert not numbers or 1 <= numbers[0] <= numbers[-1] <= report.rows
    assert all(0 <= count.done <= count.possible for count in report.repairs.values())
    assert all(name in repairs or not count.done for name, count in report.repairs.items())
    assert path.read_bytes() == content
    json.dumps(report.to_json())
    report.all_problems.write_csv(path.with_name("problems.csv"))
    if report.ok:
        dataset = prepare(report)
        assert read_rows(dataset.id) == mapped
        assert dataset.rows == len(mapped) >= 2
    else:
        with pytest.raises(DatasetError):
            prepare(report)
    shutil.rmtree(home() / "datasets", ignore_errors=True)
    return report


# Bytes.

MAGIC = [
    *(b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0", b"\x1f\x8b\x08", b"PK\x03\x04", b"PAR1"),
    *(b"ARROW1\0\0", b"\xff\xff\xff\xff", b"{", b"[", b'{"a":', b'[{"a":', b"question,answer\n", b"sep=;\n", b"a\tb\n"),
]
STRUCTURE = "{}[]\"':,;|\t\n\r\\ \0abeu019.-+é😀"
repairs_of_some = st.sets(st.sampled_from(sorted(REPAIRS)))


@settings(OFTEN, max_examples=800)
@given(magic=st.sampled_from(MAGIC), content=st.binary(max_size=300), repairs=repairs_of_some)
def test_any_bytes_get_a_report(tmp_path, magic, content, repairs):
    examine(tmp_path / "rows.jsonl", magic + content, repairs=repairs, packed=True)


@settings(OFTEN, max_examples=800)
@given(
    magic=st.sampled_from([start.decode("latin-1") for start in MAGIC[10:]]),
    content=st.text(STRUCTURE, max_size=200),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"]),
)
def test_any_text_gets_a_report(tmp_path, magic, content, encoding):
    examine(tmp_path / "rows.csv", (magic + content).encode(encoding, "replace"))


# Rows.

texts = st.text(st.characters(exclude_categories=()), max_size=20) | st.text("ab \n", max_size=6)
numbers = st.integers() | st.integers(-(10**30), 10**30) | st.floats()
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
names = st.sampled_from(sorted({name for shape in SHAPES.values() for role in shape.roles for name in role.accepts}))
turns = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant", "system", "tool", "wizard"]) | values,
        "content": texts | values,
        "from": st.sampled_from(["human", "gpt"]),
        "value": texts,
        "tool_calls": values,
    },
)
answers = st.fixed_dictionaries({}, optional={"text": values, "answer_start": values})
cells = texts | texts | values | st.lists(turns, max_size=4) | turns | answers | st.lists(answers, max_size=3)
rows_of_some = st.lists(
    st.dictionaries(names, cells, max_size=4) | st.dictionaries(texts, cells, max_size=3) | values, max_size=6
)
# Rows that all have the same columns, so that what they hold is looked at more closely.
rows_of_one_form = st.lists(names, min_size=1, max_size=4, unique=True).flatmap(
    lambda columns: st.lists(st.fixed_dictionaries(dict.fromkeys(columns, cells)), min_size=2, max_size=6)
)
chats = st.lists(
    st.lists(texts.filter(str.strip), min_size=2, max_size=4).map(
        lambda said: {"messages": [{"role": ("user", "assistant")[n % 2], "content": t} for n, t in enumerate(said)]}
    ),
    min_size=2,
    max_size=5,
)
tooled_chats = st.lists(
    st.tuples(texts, texts, values).map(
        lambda row: {
            "messages": [{"role": "user", "content": row[0]}, {"role": "assistant", "content": row[1]}],
            "tools": [row[2]],
        }
    ),
    min_size=2,
    max_size=5,
)


def write_json(rows: list[Any], form: str, ascii_only: bool) -> bytes:
    if form == "lines":
        text = "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    elif form == "list":
        text = json.dumps(rows, ensure_ascii=ascii_only)
    elif form == "indented":
        text = json.dumps(rows, ensure_ascii=ascii_only, indent=1)
    else:
        text = json.dumps({"data": rows, "version": 1}, ensure_ascii=ascii_only)
    return text.encode("utf-8", "surrogatepass")


@settings(OFTEN, max_examples=1500)
@given(
    rows=rows_of_some | rows_of_one_form | chats | tooled_chats,
    form=st.sampled_from(["lines", "list", "indented", "key"]),
    ascii_only=st.booleans(),
    repairs=repairs_of_some,
)
def test_any_json_gets_a_report(tmp_path, rows, form, ascii_only, repairs):
    examine(tmp_path / "rows.json", write_json(rows, form, ascii_only), repairs=repairs)


@settings(OFTEN, max_examples=600)
@given(
    table=st.tuples(st.lists(names | texts, min_size=1, max_size=4), st.lists(st.lists(texts, max_size=5), max_size=6)),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    repairs=repairs_of_some,
)
def test_any_table_gets_a_report(tmp_path, table, delimiter, quoting, repairs):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=quoting).writerows([table[0], *table[1]])
    examine(tmp_path / "rows.csv", text.getvalue().encode("utf-8", "surrogatepass"), repairs=repairs)


# Rows that hold nothing but text, which are mapped many at once where all is well.

good_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40).filter(
    lambda text: bool(text.strip())
)
optional_texts = st.none() | texts | st.sampled_from(["", " ", "a", " b ", "c\0", "d\ud800", "é", "\u00a0", "\x1c"])


@settings(OFTEN, max_examples=700)
@given(
    rows=st.sampled_from(
        [
            ["prompt", "response"],
            ["system", "instruction", "input", "output"],
            ["instruction", "input", "output"],
            ["document", "summary"],
            ["text"],
        ]
    ).flatmap(
        lambda columns: st.lists(
            st.fixed_dictionaries(dict.fromkeys(columns, good_texts))
            | st.fixed_dictionaries(dict.fromkeys(columns, optional_texts)),
            min_size=2,
            max_size=6,
        )
    ),
    repairs=st.sets(st.sampled_from(["strip", "numbers_to_text", "skip_bad_rows"])),
)
def test_many_rows_are_mapped_as_each_one_by_itself(tmp_path, rows, repairs):
    report = examine(tmp_path / "rows.jsonl", write_json(rows, "lines", True), repairs=repairs)
    each = [apply(report.mapping, row, frozenset(repairs))[0] for row in rows] if not report.mapping.missing else []
    assert list(report.mapped_rows) == [row for row in each if row is not None]


# Good files, damaged.

PAIRS = [(f"Is {n} odd, or even?", f'It is "{n % 2}",\nsays Zoë.') for n in range(40)]
OBJECTS = [{"question": question, "answer": answer} for question, answer in PAIRS]
CHATS = [
    {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
    for question, answer in PAIRS
]
SPANS = [
    {"context": answer, "question": question, "answers": {"text": ["It"], "answer_start": [0]}}
    for question, answer in PAIRS
]
SQUAD = {
    "version": "2",
    "data": [
        {
            "title": "numbers",
            "paragraphs": [
                {"context": answer, "qas": [{"question": question, "answers": [{"text": "It", "answer_start": 0}]}]}
                for question, answer in PAIRS
            ],
        }
    ],
}


def make_files() -> dict[str, bytes]:
    table, packed = io.StringIO(newline=""), io.BytesIO()
    csv.writer(table).writerows([("question", "answer"), *PAIRS])
    workbook = openpyxl.Workbook()
    for row in [("question", "answer"), *PAIRS]:
        workbook.active.append(row)
    workbook.save(packed)
    parquet, arrow = io.BytesIO(), io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(CHATS), parquet)
    flat = pyarrow.Table.from_pylist(OBJECTS)
    with pyarrow.ipc.new_stream(arrow, flat.schema) as writer:
        writer.write_table(flat)
    lines = write_json(OBJECTS, "lines", False)
    return {
        "rows.jsonl": lines,
        "rows.json": write_json(OBJECTS, "indented", False),
        "chats.jsonl": write_json(CHATS, "lines", True),
        "spans.jsonl": write_json(SPANS, "lines", False),
        "squad.json": json.dumps(SQUAD, indent=1).encode(),
        "rows.csv": table.getvalue().encode(),
        "wide.csv": table.getvalue().encode("utf-16"),
        "old.csv": table.getvalue().encode("latin-1"),
        "rows.txt": "\n\n".join(answer for _, answer in PAIRS).encode(),
        "rows.xlsx": packed.getvalue(),
        "rows.parquet": parquet.getvalue(),
        "rows.arrow": arrow.getvalue(),
        "rows.jsonl.gz": gzip.compress(lines, mtime=0),
    }


FILES = make_files()
BINARY = {"rows.xlsx", "rows.parquet", "rows.arrow", "rows.jsonl.gz"}
snippets = st.binary(max_size=4) | st.sampled_from(
    [b'"', b"\n", b"\r", b",", b"{", b"}", b"[", b"]", b":", b"\\", b"\0", b"\\ud800", b"\xff", b"1e999", b"NaN", b'""']
)
# What is done to a file: at which place (a share of its length), how many bytes go, and what comes instead.
damages = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from([0, 0, 1, 1, 2, 10, 1000]), snippets), min_size=1, max_size=4
)


def damage(content: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    for share, gone, instead in changes:
        place = round(share * len(content))
        content = content[:place] + instead + content[place + gone :]
    return content


@settings(OFTEN, max_examples=1800)
@given(name=st.sampled_from(sorted(FILES)), changes=damages, repairs=repairs_of_some)
def test_damaged_file_gets_a_report(tmp_path, name, changes, repairs):
    examine(tmp_path / name, damage(FILES[name], changes), repairs=repairs, packed=name in BINARY)


@pytest.mark.parametrize("name", FILES)
def test_file_that_is_damaged_above_is_good_as_it_is(tmp_path, name):
    report = examine(tmp_path / name, FILES[name], packed=name in BINARY)
    assert (report.ok, len(report.mapped_rows)) == (True, 40)


# Good texts.

good_pairs = st.lists(st.tuples(good_texts, good_texts), min_size=2, max_size=6)


@settings(OFTEN, max_examples=1000)
@given(pairs=good_pairs, form=st.sampled_from(["lines", "ascii", "list", "table", "parquet"]))
def test_any_text_comes_back_byte_for_byte(tmp_path, pairs, form):
    objects = [{"question": question, "answer": answer} for question, answer in pairs]
    if form == "table":
        text = io.StringIO(newline="")
        csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("question", "answer"), *pairs])
        content = text.getvalue().encode()
    elif form == "parquet":
        packed = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(objects), packed)
        content = packed.getvalue()
    else:
        content = write_json(objects, "list" if form == "list" else "lines", form == "ascii")
    report = examine(tmp_path / "rows", content, packed=form == "parquet")
    assert [tuple(turn["content"] for turn in row["messages"]) for row in report.mapped_rows] == pairs
