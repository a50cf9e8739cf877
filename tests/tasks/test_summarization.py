from __future__ import annotations

import json

import pytest

from modelforge.data.checks import check
from modelforge.data.prepare import prepare, read_rows
from modelforge.tasks.summarization import INSTRUCTION, map_row, to_messages

NASTY = [
    'He said "no" and \'yes\', then \\"maybe\\".',
    '{"article": "not json", "x": [1, {2}]} {{ braces }} {% raw %}',
    "line one\nline two\r\n\n\ttabbed\u2028separated",
    "  spaces at both ends  ",
    "emoji 👩\u200d👩\u200d👧 é e\u0301 \u202eright to left\u202c العربية",
]


@pytest.mark.parametrize("text", NASTY)
def test_audit_05_document_and_summary_survive_byte_for_byte(tmp_path, monkeypatch, text):
    monkeypatch.setenv("MODELFORGE_HOME", str(tmp_path / "home"))
    path = tmp_path / "news.jsonl"
    rows = [{"article": f"{n} {text}", "summary": f"{text} {n}"} for n in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    mapped = read_rows(prepare(check(path)).id)
    for row, original in zip(mapped, rows, strict=True):
        user, assistant = row["messages"]
        assert user == {"role": "user", "content": f"{INSTRUCTION}\n\n{original['article']}"}
        assert assistant == {"role": "assistant", "content": original["summary"]}


def test_audit_05_input_is_the_document_and_never_the_summary():
    row, faults = map_row({"document": "the long text", "summary": "the gist"})
    assert faults == []
    assert row is not None
    assert "the gist" not in row["messages"][0]["content"]
    assert row["messages"][1] == {"role": "assistant", "content": "the gist"}


def test_document_alone_becomes_the_question_that_inference_sends():
    asked = to_messages({"document": "d"})
    assert asked == to_messages({"document": "d", "summary": "s"})[:1]
