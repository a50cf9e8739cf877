"""Searches and normal forms of long texts: the same as those of `re` and `unicodedata`, in linear time."""

from __future__ import annotations

import re
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelforge import text as module
from modelforge.data.personal_data import KINDS, contains
from modelforge.tasks.extractive_question_answering import _find_nearest
from modelforge.text import find_all, find_matches, normalize

PARTS = ["a", "b@c.de ", "4111 1111 1111 1111", "1", " ", "-", "@", ".", "ab.example", "\n"]


@given(parts=st.lists(st.sampled_from(PARTS), max_size=200), pattern=st.sampled_from([*KINDS.values(), r"\w|[^\w\s]"]))
def test_matches_are_those_of_the_whole_text_wherever_it_is_cut(parts: list[str], pattern: str) -> None:
    text, compiled = "".join(parts), re.compile(pattern)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "PIECE", 3000)
        patched.setattr(module, "OVERLAP", 800)
        text = "." * 2900 + text
        assert [each.span() for each in find_matches(compiled, text)] == [
            each.span() for each in compiled.finditer(text)
        ]


def test_all_words_of_a_long_text_are_found() -> None:
    words = [f"word{n}" for n in range(50_000)]
    assert find_all(re.compile(r"\w+"), " ".join(words)) == words


@pytest.mark.parametrize(
    "text", ["é" * 2000, "e\u0301" * 2000, "\u1112\u1161\u11ab" * 800, "क्षि" * 500, "\u0327\u0301" * 15]
)
def test_normal_form_of_a_language_is_that_of_unicode(text: str) -> None:
    assert normalize("NFKC", text) == unicodedata.normalize("NFKC", text)


def measure(length: int, *attacks: str) -> float:
    """Processor seconds of what is done with a text of a user."""
    best = float("inf")
    for _ in range(3):
        started = time.thread_time()
        for unit in attacks:
            text = unit * (length // len(unit))
            normalize("NFC", f"a{text}")
            normalize("NFKC", f"a{text}")
            _find_nearest(text, f"{text[: length // 2]}!", 0)
            _find_nearest(f"{text}!", f"{text[: length // 2]}!", 10)
            _find_nearest(f"!{text}", f"!{text[: length // 2].upper()}", length)
            assert not any(contains(kind, text) for kind in KINDS)
        best = min(best, time.thread_time() - started)
    return best


@pytest.mark.parametrize("unit", ["\u0327\u0301", "a", "0123456789abcdef", "ab", "a@b."])
def test_twice_as_long_a_text_takes_no_more_than_three_times_as_long(unit: str) -> None:
    assert measure(40_000, unit) < 3 * measure(20_000, unit) + 0.01
