from __future__ import annotations

import numpy as np
import pytest

from modelforge.data.checks import check
from modelforge.data.row_texts import CachedTexts, divide
from modelforge.tasks.base import Texts
from tests.data.varied import make_pairs

PAIRS = make_pairs(9000)


def chat(question, answer):
    return {"messages": [{"role": role, "content": text} for role, text in (("user", question), ("assistant", answer))]}


@pytest.mark.parametrize(
    "rows",
    [
        [{"prompt": question, "response": answer, "system": f"s{len(answer)}"} for question, answer in PAIRS],
        [{"text": f"{question} {answer}"} for question, answer in PAIRS],
        [chat(question, answer) for question, answer in PAIRS[:500]],
    ],
    ids=["columns", "plain text", "chats"],
)
def test_rows_in_any_order_have_the_texts_that_each_has_alone(write_jsonl, rows):
    report = check(write_jsonl(rows))
    texts = CachedTexts(report.mapped_rows._cache)
    chosen = np.random.default_rng(0).integers(0, len(report.mapped_rows), 300)
    columns = texts.take(chosen, Texts._fields)
    assert list(zip(*(column.to_pylist() for column in columns), strict=True)) == [
        tuple(texts.read(row)) for row in chosen.tolist()
    ]
    assert texts.take(chosen, ("answered",))[0].equals(columns[2])
    assert (texts.weigh(chosen) > 0).all()
    assert [len(column) for column in texts.take(chosen[:0], Texts._fields)] == [0] * 4


def test_parts_are_bounded_in_number_and_in_text():
    weights = np.array([1, 1, 1, 3 << 20, 3 << 20, 1 << 30, 1, 1])
    assert list(divide(weights, 2)) == [slice(0, 2), slice(2, 4), slice(4, 5), slice(5, 6), slice(6, 8)]
    assert list(divide(weights[:0], 2)) == []
