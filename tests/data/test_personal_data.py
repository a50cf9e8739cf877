from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelforge.data.checks import check
from modelforge.data.personal_data import KINDS, find_suspects
from tests.bench.corpora import read_sentences

EMAIL, CARD, KEY = KINDS

PRIVATE = [
    (EMAIL, "jane.doe@example.org"),
    (EMAIL, "a+b_c-d@mail.example.co.uk"),
    (EMAIL, "Write to <JANE@EXAMPLE.COM>, please."),
    (EMAIL, "mailto:x@y.de?subject=Hi"),
    (EMAIL, "Für jürgen.müller@example.de"),
    (EMAIL, "Mail:\njane@example.org"),
    (CARD, "4111 1111 1111 1111"),
    (CARD, "5500-0000-0000-0004"),
    (CARD, "3400 0000 0000 009"),
    (CARD, "Card 6011000990139424, valid until 12/29."),
    (CARD, "My card:\n5500 0000 0000 0004"),
    (CARD, "card\t5500000000000004"),
    (KEY, "sk-" + "a1B2" * 6),
    (KEY, "sk-proj-" + "a1_B-" * 8),
    (KEY, "hf_" + "aB" * 17),
    (KEY, "ghp_" + "a1B2" * 9),
    (KEY, "gho_" + "a1B2" * 9),
    (KEY, "AKIA" + "ABCD1234" * 2),
    (KEY, "xoxb-123456789012-abcdefghij"),
    (KEY, "-----BEGIN PRIVATE KEY-----\nMIIE"),
    (KEY, "-----BEGIN RSA PRIVATE KEY-----"),
    (KEY, "-----BEGIN OPENSSH PRIVATE KEY-----"),
    (KEY, "export OPENAI_API_KEY=sk-" + "x" * 48),
    (KEY, "The key is\nsk-" + "a1B2" * 6),
    (KEY, "keys:\n\thf_" + "aB" * 17),
]
HARMLESS = [
    "4111 1111 1111 1112",  # no card: Luhn's check fails
    "1234567890123456",
    "0000 0000 0000 0000",
    "1111111111111117",
    "9999 9999 9999 9995",  # no card begins with 9
    "order 20260115123456",
    "1,234,567,890,123.45 euros",
    "$ 1299.99",
    "ISBN 978-3-16-148410-0",
    "IBAN DE89 3704 0044 0532 0130 00",
    "2026-01-15T12:34:56.789012",
    "15.01.2026 to 31.12.2027",
    "version 12.4.1-rc2+build.20260115",
    "192.168.100.200:8080",
    "a@b",
    "user@localhost",
    "@handle and #tag",
    "numpy@1.26.4",
    "+49 421 123456789",
    "(555) 010-0199",
    "0171 2345678",
    "3.14159265358979323846",
    "sk-learn and hf_hub",
    "task-oriented-and-risk-averse-but-long-words",
    "AKIA",
    "-----BEGIN PUBLIC KEY-----",
    "-----BEGIN CERTIFICATE-----",
    "550e8400-e29b-41d4-a716-446655440000",
    "d41d8cd98f00b204e9800998ecf8427e",
]


def answer(text):
    rows = [{"question": f"question {n}", "answer": f"answer {n}"} for n in range(30)]
    return [*rows, {"question": "question 31", "answer": text}]


@pytest.mark.parametrize(("kind", "text"), PRIVATE)
def test_private_data_is_warned_about_in_its_row_and_column(write_jsonl, kind, text):
    report = check(write_jsonl(answer(text)))
    assert report.ok
    (problem,) = report.problems
    assert (problem.severity, problem.row, problem.line, problem.column) == ("warning", 31, 31, "answer")
    assert problem.problem == f"This looks like {kind}."
    assert problem.fix


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_text_is_not(write_jsonl, text):
    assert check(write_jsonl(answer(text))).problems == ()


ALMOST = [
    *("4" * 13, "4" * 12, " ".join("4" * 13), "-".join("4" * 12), "1  2" * 9, "12 34 56 78 90 12 3", "x" * 30),
    *("sk-" + "a" * 20, "sk-" + "a" * 19, "task-" + "b" * 20, "hf_" + "a" * 30, "xoxp-" + "a" * 10, "AKI", "---", "@"),
    *("a@b.cd", "a@b.c", "ä@b.cd", "a@b..cd", "@b.cd", "a@" + "b" * 70 + ".de", "-----BEGIN PRIVATE KEY", "", " ", "é"),
]


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.tuples(*[st.lists(st.sampled_from([*ALMOST, *HARMLESS, *dict(PRIVATE).values()]), max_size=3)] * 2),
        max_size=8,
    ),
    st.sampled_from(["", " ", "4", "é"]),
)
def test_suspects_are_at_least_the_rows_in_which_the_plain_search_finds_anything(rows, between):
    columns = [pa.array([between.join(row[side]) for row in rows], pa.string()) for side in (0, 1)]
    pattern = "|".join(KINDS.values()).replace(r"\b", "")
    found = [pc.match_substring_regex(column, pattern) for column in columns]
    plain = {place for each in found for place in pc.indices_nonzero(each).to_pylist()}
    assert plain <= set(find_suspects(columns))


def test_suspects_among_real_sentences_are_those_of_the_plain_search():
    sentences = read_sentences()
    some = [f"{sentence} {text}" for sentence, (_, text) in zip(sentences, PRIVATE * 3, strict=False)]
    texts = pa.array([*sentences, *some])
    pattern = "|".join(KINDS.values()).replace(r"\b", "")
    assert find_suspects([texts]) == pc.indices_nonzero(pc.match_substring_regex(texts, pattern)).to_pylist()


def test_warning_does_not_repeat_what_is_private(write_jsonl):
    report = check(write_jsonl(answer("jane.doe@example.org")))
    assert "jane" not in json.dumps([[problem.problem, problem.fix] for problem in report.problems])


def test_each_kind_is_said_once_a_row_however_often_it_is_there(write_jsonl):
    text = "jane@example.org, joe@example.org, 4111111111111111, 5500000000000004, ghp_" + "a1B2" * 9
    problems = check(write_jsonl(answer(text))).problems
    assert sorted(problem.problem for problem in problems) == sorted(f"This looks like {kind}." for kind in KINDS)


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"prompt": "jane@example.org", "completion": "a"}, "prompt"),
        ({"prompt": "q", "completion": "jane@example.org"}, "completion"),
        ({"prompt": "jane@example.org", "completion": "jane@example.org"}, "prompt"),
    ],
)
def test_column_is_the_one_that_holds_it(write_jsonl, row, column):
    rows = [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(30)]
    (problem,) = check(write_jsonl([*rows, row])).problems
    assert (problem.row, problem.column) == (31, column)


def test_column_of_a_chat_is_the_column_of_its_turns(write_jsonl):
    def chat(text):
        return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": f"a {text}"}]}

    (problem,) = check(write_jsonl([*(chat(f"q{n}") for n in range(30)), chat("jane@example.org")])).problems
    assert (problem.row, problem.column) == (31, "messages")


@pytest.mark.parametrize(("kind", "text"), {kind: (kind, text) for kind, text in PRIVATE}.values())
def test_private_data_is_found_in_any_turn_of_a_long_chat(write_jsonl, kind, text):
    chats = [[f"question {n}", f"answer {n}", f"then {n}?", f"never {n}"] for n in range(30)]
    chats.append(["Hello", "Hello", text, "Thank you."])
    turns = [[{"role": ("user", "assistant")[n % 2], "content": each} for n, each in enumerate(chat)] for chat in chats]
    (problem,) = check(write_jsonl({"messages": each} for each in turns)).problems
    assert (problem.row, problem.column, kind in problem.problem) == (31, "messages", True)


def test_columns_that_are_not_used_are_not_looked_at(write_jsonl):
    rows = [{"prompt": f"q{n}", "response": f"a{n}", "author": f"a{n}@example.org"} for n in range(30)]
    assert check(write_jsonl(rows)).problems == ()


def test_rows_that_are_not_used_are_not_looked_at(write_jsonl):
    rows = answer("a@example.org")
    rows[-1]["question"] = None
    report = check(write_jsonl(rows), repairs=["skip_bad_rows"])
    assert ["Skipped" in problem.problem for problem in report.problems] == [True]


def test_each_of_many_rows_is_looked_at(write_jsonl):
    rows = [{"prompt": f"question {n}", "response": f"a{n}@example.org" if n % 7 == 0 else f"{n}"} for n in range(5000)]
    report = check(write_jsonl(rows))
    assert [problem.row for problem in report.all_problems if EMAIL in problem.problem] == list(range(1, 5001, 7))
