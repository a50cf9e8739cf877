"""What is shown of a report: nothing in a file becomes markup."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelforge.data.checks import check
from modelforge.ui.dataset.view import _show_role

SPY = "[x](javascript:alert(1))<img src=x onerror=alert(1)>"


@pytest.mark.parametrize(
    ("role", "name", "other"), [("prompt", f"{SPY} question", "answer"), ("response", f"{SPY} answer", "question")]
)
def test_name_of_a_column_is_not_in_the_help_of_its_role(tmp_path: Path, role: str, name: str, other: str) -> None:
    """Gradio takes help for Markdown, and knows no way to escape it."""
    path = tmp_path / "rows.jsonl"
    rows = [{name: f"This is text {n}.", other: f"That is town {n}."} for n in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    report = check(path)
    assert report.mapping.columns[role] == name
    assert not any(sign in _show_role(report, role).info for sign in "<>[]*`")
