"""What is shown of a report: nothing in a file becomes markup."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from modelforge.data.checks import check
from modelforge.ui.dataset.view import _show_role

NAMES = [
    "[x](javascript:alert(1))<img src=x onerror=alert(1)> question",
    "**bold** `code` ~~gone~~ $x$ &lt;b&gt; question",
    "www.example.com https://example.com a@example.com question",
    "a\n\n# title\n\n- list\n\n    code\n\n| a |\n|--|\n\n question",
]


@pytest.mark.parametrize("name", NAMES)
def test_name_of_a_column_is_text_in_the_help_of_its_role(tmp_path: Path, name: str) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{name: f"Which town is number {n}?", "answer": f"Town {n}."} for n in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    report = check(path)
    assert report.mapping.columns["prompt"] == name
    content = MarkdownIt("gfm-like", {"linkify": False}).parse(_show_role(report, "prompt").info)[1]
    assert {each.type for each in content.children or ()} <= {"text", "text_special"}
    assert repr(name) in "".join(each.content for each in content.children or ())
