from __future__ import annotations

import gc
import json
import os
import shutil
from collections import namedtuple

import pytest

from modelforge.data import prepare as prepare_module
from modelforge.data.checks import check
from modelforge.data.prepare import prepare, read_manifest, read_rows
from modelforge.errors import DatasetError, DiskFullError, NotFoundError
from modelforge.paths import dataset_dir
from modelforge.recipe import Task

ROWS = [{"input": f'q{n} "\u2028{{x}}\n😀', "output": f"a{n}\r\n"} for n in range(30)]


@pytest.fixture
def report(write_jsonl):
    return check(write_jsonl(ROWS))


def test_prepared_rows_are_read_back_as_they_were(report):
    dataset = prepare(report, name="Mine")
    rows = read_rows(dataset.id)
    assert [row["messages"][0]["content"] for row in rows] == [row["input"] for row in ROWS]
    assert [row["messages"][1]["content"] for row in rows] == [row["output"] for row in ROWS]
    assert read_manifest(dataset.id) == dataset
    assert (dataset.name, dataset.task) == ("Mine", Task.TEXT_GENERATION)
    assert (dataset.rows, dataset.source) == (30, "rows.jsonl")
    assert dataset.created.endswith("+00:00")


def test_same_rows_are_one_dataset_whatever_the_file(report, write_file, isolated_home):
    first = prepare(report)
    pretty = check(write_file("other.json", json.dumps(ROWS, indent=4)))
    assert prepare(pretty, name="again") == first
    assert [path.name for path in (isolated_home / "datasets").iterdir()] == [first.id]


def test_other_rows_are_another_dataset(report, write_jsonl):
    assert prepare(report).id != prepare(check(write_jsonl(ROWS[:-1]))).id


def test_report_with_errors_is_refused_naming_row_and_line(write_jsonl, isolated_home):
    with pytest.raises(DatasetError, match=r"rows.jsonl, row 31 \(line 31\): .*missing.*1 more"):
        prepare(check(write_jsonl([*ROWS, {"input": "a"}, {"input": "b"}])))
    assert not (isolated_home / "datasets").exists()


def test_full_disk_is_refused_before_anything_is_written(report, isolated_home, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 5000))
    with pytest.raises(DiskFullError) as caught:
        prepare(report)
    assert caught.value.free == 5000
    assert caught.value.needed > 5000
    assert list((isolated_home / "datasets").iterdir()) == []


def test_disk_that_fills_up_meanwhile_leaves_nothing(report, isolated_home, monkeypatch):
    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DiskFullError):
        prepare(report)
    assert list((isolated_home / "datasets").iterdir()) == []


def test_unknown_dataset_is_not_found():
    for typed in ("dataset-000000000000", "../../etc", "dataset-1; touch x"):
        with pytest.raises(NotFoundError):
            read_rows(typed)


def test_changed_rows_are_noticed_and_preparing_again_mends_them(write_jsonl):
    path = write_jsonl(ROWS)
    dataset = prepare(check(path))
    rows = dataset_dir(dataset.id) / prepare_module.ROWS_FILE
    rows.write_bytes(rows.read_bytes().replace(b"a7", b"a8"))
    with pytest.raises(DatasetError, match="changed"):
        read_rows(dataset.id)
    prepare(check(path))
    assert read_rows(dataset.id) == list(check(path).mapped_rows)


@pytest.mark.parametrize("content", [b"", b"ARROW1", b"{oops", b"\xff" * 100])
def test_damaged_rows_are_one_clear_error_and_preparing_again_mends_them(write_jsonl, content):
    path = write_jsonl(ROWS)
    dataset = prepare(check(path))
    (dataset_dir(dataset.id) / prepare_module.ROWS_FILE).write_bytes(content)
    with pytest.raises(DatasetError, match=r"changed|damaged"):
        read_rows(dataset.id)
    prepare(check(path))
    assert len(read_rows(dataset.id)) == 30


def test_rows_that_are_gone_are_one_clear_error(report):
    dataset = prepare(report)
    (dataset_dir(dataset.id) / prepare_module.ROWS_FILE).unlink()
    with pytest.raises(DatasetError, match="damaged"):
        read_rows(dataset.id)


def test_dataset_outlives_the_report_and_the_file_that_it_came_from(write_jsonl):
    path = write_jsonl(ROWS)
    dataset = prepare(check(path))
    path.unlink()
    gc.collect()
    assert len(read_rows(dataset.id)) == 30


def test_manifest_tells_the_shape_and_the_rows_of_the_file(write_jsonl):
    path = write_jsonl([*ROWS, ROWS[0], {"input": "q"}])
    dataset = prepare(check(path, repairs=["skip_bad_rows", "drop_duplicates"]))
    assert (dataset.shape, dataset.rows, dataset.file_rows, dataset.problems) == ("chat", 30, 32, {"duplicates": 0})
    assert dataset.repairs == {"skip_bad_rows": 1, "drop_duplicates": 1}
    assert dataset.columns == {"prompt": "input", "response": "output"}


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": f"passage {n}"} for n in range(20)],
        [{"prompt": f"q {n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(20)],
        [{"question": f"q {n}"} for n in range(20)],
        [{"document": f"long {n}", "summary": f"short {n}"} for n in range(20)],
        [{"context": f"house {n}", "question": "Which?", "answers": "house"} for n in range(20)],
        [
            {"messages": [{"role": "user", "content": f"{n}"}, {"role": "assistant", "content": "a"}] * 3}
            for n in range(20)
        ],
    ],
)
def test_rows_of_every_shape_are_read_back_as_they_were_mapped(write_jsonl, rows):
    report = check(write_jsonl(rows))
    assert read_rows(prepare(report).id) == list(report.mapped_rows)
    assert len(report.mapped_rows) == 20


def test_damaged_manifest_is_one_clear_error(report):
    dataset = prepare(report)
    (dataset_dir(dataset.id) / "dataset.json").write_text("{")
    with pytest.raises(DatasetError, match="damaged"):
        read_manifest(dataset.id)
