"""Documents from files and answers found in a text, as the page shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelforge.errors import DatasetError
from modelforge.models.spans import Span
from modelforge.ui.playground import documents
from modelforge.ui.playground.documents import open_file
from modelforge.ui.playground.questions import show_span

CONTEXT = "The lamp is <red>. The boat is blue. That is all."


def test_document_from_a_file_says_how_much_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "news.md"
    file.write_text("# News\n\nThe lamp is red.")
    text, summary, note = open_file(str(file))
    assert text == "# News\n\nThe lamp is red." and summary == "" and "24 characters." in note
    monkeypatch.setattr(documents, "LONGEST_TEXT", 6)
    text, _, note = open_file(str(file))
    assert text == "# News" and "only its first 6 characters" in note
    file.write_bytes(b"%PDF-1.7")
    with pytest.raises(DatasetError, match="PDF"):
        open_file(str(file))


def test_answer_is_marked_in_its_text_with_the_next_best_and_no_answer() -> None:
    start = CONTEXT.index("<red>")
    other = Span("blue", CONTEXT.index("blue"), CONTEXT.index("blue") + 4, 0.2)
    shown = show_span(CONTEXT, Span("<red>", start, start + 5, 0.7, (other,), 0.1), "Lamps")
    assert "<mark>&lt;red&gt;</mark>. The boat is blue." in shown
    assert "70%" in shown and "20.0%" in shown and "No answer" in shown and "10%" in shown
    nothing = show_span(CONTEXT, Span("", 0, 0, 0.9, (other,), 0.9), "Lamps")
    assert "Lamps finds no answer" in nothing and "<mark>" not in nothing and "blue" in nothing
    always = show_span(CONTEXT, Span("<red>", start, start + 5, 0.7), "Lamps")
    assert "it always finds one" in always
