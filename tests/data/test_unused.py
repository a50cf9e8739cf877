"""Columns that are not used are named, one sentence for each kind of loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from modelforge.data.checks import check

Write = Callable[[Iterable[Any]], Path]
SCORES = "Scores and ratings are not used, so every answer is learned as a good one: {}."


def rows(**more: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"What is {n}?", "response": f"Number {n}.", **more} for n in range(24)]


@pytest.mark.parametrize(
    ("more", "notes"),
    [
        ({}, ()),
        ({"id": 7, "url": "https://example.org"}, ("Not used: id, url.",)),
        ({"photo": "a.png"}, ("Images, audio and video are not used, as only text is trained: photo.",)),
        ({"scan": "scans/7.jpeg"}, ("Images, audio and video are not used, as only text is trained: scan.",)),
        ({"weight": 0.5}, ("Weights are not used, as every row counts once: weight.",)),
        ({"labels": ["a"]}, ("Labels are not used, so every answer is learned as a good one: labels.",)),
        ({"quality_score": "high", "modelRating": "A"}, (SCORES.format("quality_score, modelRating"),)),
        (
            {"id": 1, "weight": 2, "label": "sport", "image": None, "reward": "x"},
            (
                "Images, audio and video are not used, as only text is trained: image.",
                "Labels are not used, so every answer is learned as a good one: label.",
                SCORES.format("reward"),
                "Weights are not used, as every row counts once: weight.",
                "Not used: id.",
            ),
        ),
    ],
)
def test_each_kind_is_one_sentence_in_the_report(write_jsonl: Write, more: dict[str, Any], notes: tuple[str]) -> None:
    report = check(write_jsonl(rows(**more)))
    assert report.shape.name == "chat"
    assert report.notes == notes
    written = report.to_json()
    assert (written["unused"], written["notes"]) == (list(more), list(notes))


def test_image_of_parquet_is_known_by_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    table = pyarrow.Table.from_pylist(rows(scene={"bytes": b"\x89PNG", "path": "a"}))
    pyarrow.parquet.write_table(table, path)
    assert check(path).notes == ("Images, audio and video are not used, as only text is trained: scene.",)


def test_many_columns_are_counted(write_jsonl: Write) -> None:
    [note] = check(write_jsonl(rows(**{f"extra{n}": n for n in range(30)}))).notes
    assert note.endswith("extra19 and 10 more.")
