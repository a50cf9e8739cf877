"""No file takes more than 2 GB and 20 seconds, and what is not read is told with its number; real data is read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from modelforge.data.checks import check
from modelforge.data.limits import LONGEST_ROW, MOST_COLUMNS
from tests.data.attacks import FAST, MOST_MEMORY, MOST_SECONDS, SLOW, Attack, repeat, write_attack, write_parquet

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are measured as POSIX does")


def check_all(folder: Path, attacks: Mapping[str, Attack]) -> dict[str, dict[str, Any]]:
    """name -> what its check took. The files are written to a folder and deleted there."""
    found = {}
    for name, attack in attacks.items():
        path = write_attack(folder, name.replace(" ", "-"), attack)
        command = [sys.executable, "-m", "tests.data.attacks", str(path)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        (found[name],) = json.loads(run.stdout)
        path.unlink()
    return found


@pytest.mark.parametrize(
    "name", [name if place % 3 == 0 else pytest.param(name, marks=pytest.mark.slow) for place, name in enumerate(FAST)]
)
def test_attack_is_refused_before_it_takes_the_machine(tmp_path, name):
    holds(check_all(tmp_path, {name: FAST[name]})[name], FAST[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_small_file_of_any_shape_is_checked_within_bounds(tmp_path, name):
    holds(check_all(tmp_path, {name: SLOW[name]})[name], SLOW[name])


def holds(took: dict[str, Any], attack: Attack) -> None:
    assert took["ended"], took
    assert took["bytes"] < MOST_MEMORY
    assert took["seconds"] < MOST_SECONDS
    assert not attack[1] or any(attack[1] in problem for problem in took["problems"]), took["problems"][:3]


def test_row_up_to_the_limit_is_read(write_jsonl):
    rows = [{"question": f"q{n}", "answer": "word " * n} for n in (1, 2, 3)]
    rows.append({"question": "long", "answer": "a" * (LONGEST_ROW - 40)})
    assert len(check(write_jsonl(rows)).mapped_rows) == 4


def test_row_beyond_the_limit_is_told_with_its_place_and_the_others_are_read(write_file):
    content = "question,answer\nq1,a1\nq2," + "a" * (LONGEST_ROW + 1) + "\nq3,a3\n"
    report = check(write_file("a.csv", content))
    (problem,) = report.problems
    assert (problem.row, problem.line, len(report.mapped_rows)) == (2, 3, 2)
    assert "more than 16,000,000 characters" in problem.problem
    assert problem.fix


def test_as_many_columns_as_the_limit_are_read(write_jsonl):
    rows = [
        {"question": f"q{n}", "answer": f"a{n}"} | {f"c{each}": 1 for each in range(MOST_COLUMNS - 2)} for n in (1, 2)
    ]
    assert len(check(write_jsonl(rows)).mapped_rows) == 2
    rows[1]["more"] = 1
    (problem,) = check(write_jsonl(rows)).problems
    assert problem.problem == "There are more than 5,000 columns up to row 2 (line 2)."


def test_parquet_that_repeats_a_long_prompt_is_read(write_file):
    prompts = repeat("You answer briefly. " * 1000, 300)  # 20 kB, stored once
    content = write_parquet({"system": prompts, "question": [f"q{n}" for n in range(300)], "answer": ["a"] * 300})
    report = check(write_file("a.parquet", content), columns={"prompt": "question", "response": "answer"})
    assert (report.ok, len(report.mapped_rows)) == (True, 300)


@pytest.mark.parametrize("kind", [pa.string_view(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_columns_of_every_kind_of_text_are_read(write_file, kind):
    table = pa.table({"question": pa.array(["a", None, "long " * 10]).cast(kind), "answer": ["b", "c", "d"]})
    target = pa.BufferOutputStream()
    with pa.ipc.new_stream(target, table.schema) as writer:
        writer.write_table(table)
    report = check(write_file("a.arrow", target.getvalue().to_pybytes()))
    assert [row["messages"][0]["content"] for row in report.mapped_rows] == ["a", "long " * 10]


def test_new_columns_and_types_within_a_file_are_read(write_jsonl):
    rows = [{"question": f"question {n}?", "answer": f"answer {n} " * 30, "score": n} for n in range(12_000)]
    for row in rows[8000:]:
        row["score"] = 0.5
    for row in rows[9000:]:
        row["more"] = None
    rows[11_000]["more"] = {"a": [1]}
    report = check(write_jsonl(rows))
    assert (report.rows, report.ok, len(report.mapped_rows)) == (12_000, True, 12_000)
    assert set(report.columns) == {"question", "answer", "score", "more"}
