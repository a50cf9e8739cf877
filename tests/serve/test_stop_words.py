"""Stop words are found wherever the pieces are cut, and nothing of them is shown."""

from __future__ import annotations

import pytest

from modelforge.serve.stop_words import stop_at


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("words", "expected", "stopped"),
    [
        ([], "one two\n\nthree", False),
        (["\n\n"], "one two", True),
        (["three", "two"], "one ", True),
        (["threee"], "one two\n\nthree", False),
        (["one"], "", True),
    ],
)
def test_text_ends_before_the_first_word(size: int, words: list[str], expected: str, stopped: bool) -> None:
    text = "one two\n\nthree"
    found = list(stop_at((text[at : at + size] for at in range(0, len(text), size)), words))
    assert "".join(piece for piece, _ in found) == expected
    assert any(ended for _, ended in found) == stopped
    assert all(piece or ended for piece, ended in found)
