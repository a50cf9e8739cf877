# ruff: noqa: RUF001 - texts in many scripts are what is tested
from __future__ import annotations

import random
import re
import sys
from itertools import pairwise, product

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelforge.data.duplicates.common_words import LEAST_SHARE, share_words, share_words_of_pairs
from modelforge.data.duplicates.text_buffers import normalise, write_ends
from modelforge.data.duplicates.word_hashes import hash_texts
from tests.bench.corpora import read_sentences

WORDS = [
    *("a", "b", "a_b", "12", "don't", "x.y", ",", ".", "\x01", "\x7f", "İstanbul", "ß", "ẞ", "ς", "σ", "ΟΔΟΣ"),
    *("ﬁrst", "e\u0301", "é", "図書館", "は。", "ไทย", "नमस्ते", "👩\u200d👧", "🇩🇪", "𝔘𝔫𝔦", "𠀀"),
    *("½", "²", "Ⅳ", "\u200b", "ﾄｼｮｶﾝ", "—", "“", "a\u00adb", "z" * 64, "z" * 65, "y" * 200),
]
SPACES = [" ", "  ", "\n", "\t", "\u00a0", "\u2003", "\x1c", "\x85", "\x0b", ""]

texts = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(SPACES)), max_size=30).map(
    lambda pairs: "".join(word + space for word, space in pairs)
)


def share_each(left, right, enough=1.0):
    """The shares of pairs of texts, computed together."""
    both = pa.array([*left, *right], pa.string())
    index = np.arange(len(left))
    return share_words_of_pairs(both, index, index + len(left), enough)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=6))
def test_many_pairs_have_the_shares_that_each_pair_has_alone(pairs):
    pairs = [*pairs, *((one, one.upper()) for one, _ in pairs), *((one, f"{one} more") for one, _ in pairs)]
    left, right = zip(*pairs, strict=True)
    assert share_each(left, right).tolist() == [share_words(one, other) for one, other in pairs]


def test_pairs_of_real_sentences_have_the_shares_that_each_pair_has_alone():
    draw, sentences = random.Random(2), read_sentences()
    left = [" ".join(draw.choices(sentences, k=draw.randint(1, 6))) for _ in range(600)]
    right = [_change(text, draw) for text in left[:400]] + left[:200]
    expected = [share_words(one, other) for one, other in zip(left, right, strict=True)]
    assert share_each(left, right).tolist() == expected
    assert sum(share > 0 for share in expected) > 100 < sum(share == 0 for share in expected)


def _change(text, draw):
    """The text with some words left out, doubled, moved or with a new first letter."""
    words = text.split()
    for _ in range(draw.randint(0, len(words) // 5)):
        place = draw.randrange(len(words))
        words[place : place + 1] = draw.choice([[], words[place : place + 1] * 2, ["x" + words[place][1:]]])
        words = words or ["x"]
        words.insert(draw.randrange(len(words)), words.pop())
    return " ".join(words)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(texts, texts), max_size=6), st.sampled_from([1, 4, 40]))
def test_ends_have_the_words_of_the_first_and_the_last_characters(rows, end):
    columns = [pa.array([row[side] for row in rows], pa.string()) for side in (0, 1)]
    buffer, offsets = write_ends(columns, end)
    found = [buffer[start:stop].decode() for start, stop in pairwise([*offsets.tolist(), len(buffer)])]
    wanted = [f"{each[:end]} {each[-end:]}" if len(each.encode()) > 2 * end else each for row in rows for each in row]
    assert [normalise(each) for each in found] == [normalise(each) for each in wanted]


def test_words_count_as_often_as_both_texts_have_them():
    base = [f"w{n}" for n in range(40)]
    counts = list(product((1, 2, 3, 5, 6, 9, 40), repeat=2))
    left = [" ".join(["the"] * ones + base) for ones, _ in counts]
    right = [" ".join(base[::-1] + ["the"] * others) for _, others in counts]
    expected = [share_words(one, other) for one, other in zip(left, right, strict=True)]
    assert share_each(left, right).tolist() == expected
    assert any(0.9 < share < 1 for share in expected)


def test_share_beyond_enough_is_at_least_enough_and_below_it_exact():
    words = [f"w{n}" for n in range(50)]
    others = [[*words[:-n], *(f"x{k}" for k in range(n))] for n in range(1, 8)] + [words[1:] + words[:1], words[::-1]]
    left, right = [" ".join(words)] * len(others), [" ".join(other) for other in others]
    exact = np.array([share_words(one, other) for one, other in zip(left, right, strict=True)])
    found = share_each(left, right, enough=0.9)
    assert (found[exact < 0.9] == exact[exact < 0.9]).all()
    assert ((found >= 0.9) == (exact >= 0.9)).all()
    assert (found <= exact).all()


def test_every_character_is_the_word_sign_or_space_that_the_plain_way_takes_it_for():
    """Of each character between two letters: one word, three words or two."""
    characters = [chr(point) for point in range(1, sys.maxunicode + 1, 7) if not 0xD800 <= point < 0xE000]
    characters += [chr(point) for point in range(1, 0x3000)]
    left = [f"a{character}b c d e f g h i j" for character in characters]
    right = ["ab c d e f g h i j"] * len(characters)
    for start in range(0, len(left), 4096):
        part = slice(start, start + 4096)
        expected = [share_words(one, other) for one, other in zip(left[part], right[part], strict=True)]
        assert share_each(left[part], right[part]).tolist() == expected


def test_no_letter_or_space_is_beyond_the_characters_that_are_sorted():
    assert not any(re.match(r"[\w\s]", chr(point)) for point in range(0x40000, sys.maxunicode + 1))


def test_texts_without_words_have_nothing_in_common():
    assert share_each(["", "  ", "a", ""], ["", "\n", "", "a"]).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("extra", [1, 2])
def test_lengths_that_differ_too_much_give_nothing(extra):
    words = " ".join(f"w{n}" for n in range(8))
    more = f"{words} {'x ' * extra}"
    assert (share_words(words, more) == 0) == (8 / (8 + extra) < LEAST_SHARE)
    assert share_each([words], [more])[0] == share_words(words, more)


@settings(deadline=None, max_examples=200)
@given(st.lists(texts, min_size=2, max_size=8))
def test_hashes_of_whole_texts_are_equal_where_their_normal_forms_are(several):
    several = [*several, *(text.upper() for text in several), *(f" {text}\n" for text in several)]
    normal = [normalise(text) for text in several]
    hashes = hash_texts(pa.array(several, pa.string())).tolist()
    assert [hash_ == 0 for hash_ in hashes] == [not text for text in normal]
    for (one, left), (other, right) in product(zip(normal, hashes, strict=True), repeat=2):
        assert (one == other) == (left == right)


def test_hash_of_a_whole_text_sees_the_order_of_words_and_where_long_ones_end():
    long = "z" * 64
    different = ["a b a c a", "a c a b a", f"{long}y", f"{long} y", f"{long}{long}", f"{long} {long}", "a,b", "a ,b"]
    assert len(set(hash_texts(pa.array(different)).tolist())) == len(different)
