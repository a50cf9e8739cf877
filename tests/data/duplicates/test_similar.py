# ruff: noqa: RUF001 - texts in many scripts are what is tested
from __future__ import annotations

import unicodedata

import pytest

from modelforge.data import row_checks
from modelforge.data.checks import check
from modelforge.data.duplicates.candidates import MANY_ROWS
from modelforge.data.duplicates.common_words import share_words
from modelforge.data.duplicates.fingerprints import fingerprint_texts
from modelforge.data.duplicates.similar import SIMILAR_ROW
from modelforge.data.split import split
from modelforge.tasks.base import Texts
from tests.data.varied import chat, make_chats, make_long_pair, make_pairs

VARIED = make_pairs(100)
LONG = [make_long_pair(seed) for seed in range(4)]


def warnings(report):
    """(row, what is said) of all problems with a row."""
    return [(problem.row, problem.problem) for problem in report.problems if problem.row]


def objects(pairs):
    return [{"prompt": question, "response": answer} for question, answer in pairs]


def change_word(text, place, word="zeppelin"):
    words = text.split(" ")
    words[place] = word
    return " ".join(words)


SAME_TO_THE_EYE = [
    ("case", "How do I sharpen a Violin?", "HOW DO I SHARPEN A VIOLIN?"),
    ("white space", "How do I sharpen a violin?", "  How  do I\n\tsharpen\u00a0a violin? "),
    ("composed and decomposed", "Où est le café près de l'hôtel à Zürich?", None),
    ("full width", "ＡＢＣ　１２３ ｏｐｅｎ ｎｏｗ？", "abc 123 open now?"),
    ("sharp s", "Wo ist die große Straße am Fuß?", "WO IST DIE GROSSE STRASSE AM FUSS?"),
    ("ligatures", "The \ufb01rst \ufb02oor of the o\ufb03ce?", "the first floor of the office?"),
    ("Greek", "Πού είναι ο ΔΡΌΜΟΣ προς το λιμάνι;", "πού είναι ο δρόμος προς το λιμάνι;"),
    ("Cyrillic", "Где находится вокзал в Москве?", "ГДЕ НАХОДИТСЯ ВОКЗАЛ В МОСКВЕ?"),
    ("Japanese", "図書館は何時に開きますか。", " 図書館は 何時に 開きますか。\n"),
    ("half width", "ﾄｼｮｶﾝは何時に開きますか。", "トショカンは何時に開きますか。"),
]


@pytest.mark.parametrize(("one", "other"), [each[1:] for each in SAME_TO_THE_EYE], ids=[e[0] for e in SAME_TO_THE_EYE])
def test_case_space_and_unicode_form_do_not_count(write_jsonl, one, other):
    other = unicodedata.normalize("NFD", one) if other is None else other
    rows = [*VARIED[:30], (one, "an answer to it"), *VARIED[30:], (other, "An  ANSWER\nto it")]
    report = check(write_jsonl(objects(rows)))
    assert report.ok
    assert report.counts.duplicates == 0
    assert warnings(report) == [(102, "This row is identical, except for case and white space, to row 31.")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("図書館は何時に開きますか。", "郵便局は何曜日に閉まりますか。"),
        ("今天天气怎么样？", "明天的会议几点开始？"),
        ("도서관은 몇 시에 여나요?", "우체국은 무슨 요일에 닫나요?"),
        ("ห้องสมุดเปิดกี่โมง", "ไปรษณีย์ปิดวันไหน"),
    ],
)
def test_other_texts_in_scripts_without_blanks_are_other_rows(write_jsonl, one, other):
    assert warnings(check(write_jsonl(objects([*VARIED, (one, "はい"), (other, "いいえ")])))) == []


def test_texts_of_one_script_that_differ_in_one_character_are_nearly_the_same(write_jsonl):
    text = "この図書館は平日の午前九時から午後八時まで開いていて、土曜日は午後五時に閉まります。日曜日は休みです。"
    report = check(write_jsonl(objects([*VARIED, (text, text), (text.replace("九", "十"), text)])))
    assert (102, "This row is a near-duplicate of row 101.") in warnings(report)


@pytest.mark.parametrize("place", [0, 5, 20, -1])
def test_row_in_which_one_word_differs_is_warned_about_with_the_row_that_it_is_like(write_jsonl, place):
    question, answer = LONG[0]
    rows = [*VARIED[:10], (question, answer), *VARIED[10:], (change_word(question, place), answer)]
    report = check(write_jsonl(objects(rows)))
    assert report.ok
    assert warnings(report) == [(102, "This row is a near-duplicate of row 11.")]
    assert report.repairs["drop_near_duplicates"].possible == 1


def test_row_in_which_every_third_word_differs_is_another_row(write_jsonl):
    question, answer = LONG[0]
    other = [" ".join(w if n % 3 else f"{w[::-1]}{n}" for n, w in enumerate(text.split(" "))) for text in LONG[0]]
    assert warnings(check(write_jsonl(objects([*VARIED, (question, answer), tuple(other)])))) == []


def test_varied_rows_raise_no_alarm(write_jsonl):
    assert check(write_jsonl(objects(make_pairs(2000)))).problems == ()


def test_same_row_is_a_duplicate_and_nothing_else(write_jsonl):
    report = check(write_jsonl(objects([*VARIED, VARIED[3], VARIED[3]])))
    assert warnings(report) == [(n, "This row is identical to row 4.") for n in (101, 102)]
    assert report.counts.duplicates == 2


def test_rows_are_only_alike_under_one_system_prompt(write_jsonl):
    question, answer = LONG[0]
    rows = [*objects(VARIED), {"prompt": question, "response": answer}]
    rows = [row | {"system": "Be kind."} for row in rows]
    rows.append({"prompt": change_word(question, 5), "response": answer, "system": "Answer like a pirate, in rhymes."})
    assert warnings(check(write_jsonl(rows))) == []


ANSWERED_OTHERWISE = "This row has the same question as row 11 and another answer."


def test_question_that_is_answered_otherwise_is_warned_about_once_with_the_first_row(write_jsonl):
    question = VARIED[10][0]
    rows = [*VARIED, (question, "No."), (question.upper(), "Certainly, but not before noon."), VARIED[10]]
    report = check(write_jsonl(objects(rows)))
    assert report.ok
    assert warnings(report) == [
        (101, ANSWERED_OTHERWISE),
        (102, ANSWERED_OTHERWISE),
        (103, "This row is identical to row 11."),
    ]


def test_summaries_of_one_document_contradict_each_other(write_jsonl):
    rows = [{"document": document, "summary": summary} for document, summary in VARIED]
    rows.append(rows[10] | {"summary": "Something else entirely."})
    assert warnings(check(write_jsonl(rows))) == [(101, ANSWERED_OTHERWISE)]


def test_two_answers_do_not_contradict_each_other_under_other_system_prompts(write_jsonl):
    rows = [row | {"system": "Be kind."} for row in objects(VARIED)]
    rows.append(rows[10] | {"system": "Answer like a pirate.", "response": "Arr, that be no matter."})
    assert warnings(check(write_jsonl(rows))) == []


def test_two_answers_do_not_contradict_each_other_on_other_contexts(write_jsonl):
    rows = [
        {"context": text, "question": "Who is it about?", "answers": text.split(" ")[index % 7]}
        for index, (_, text) in enumerate(make_long_pair(seed) for seed in range(30))
    ]
    assert warnings(check(write_jsonl(rows))) == []
    rows.append(rows[10] | {"answers": rows[10]["context"].split(" ")[9]})
    assert warnings(check(write_jsonl(rows))) == [(31, ANSWERED_OTHERWISE)]


def test_two_pairs_on_one_prompt_do_not_contradict_each_other(write_jsonl):
    rows = [{"prompt": question, "chosen": answer, "rejected": "I cannot say."} for question, answer in VARIED]
    rows.append({"prompt": VARIED[10][0], "chosen": "Of course not.", "rejected": "Of course, my dear friend, always."})
    report = check(write_jsonl(rows))
    assert report.shape.name == "preference"
    assert warnings(report) == []


def test_passages_of_plain_text_do_not_contradict_each_other(write_jsonl):
    assert warnings(check(write_jsonl({"text": f"{question} {answer}"} for question, answer in VARIED))) == []


@pytest.mark.parametrize("amount", [2, 5, 40, 400])
def test_templated_rows_still_have_a_part_that_is_held_out(amount):
    words = [question.split(" ")[-1][:5] for question, _ in make_pairs(amount)]
    rows = [
        chat(
            f"Write a product description for the {word} that is friendly, short, and fit for our spring catalogue.",
            f"The {word} is the friend of every garden: light, strong, and made to last for many a spring to come.",
        )
        for word in words
    ]
    train, held_out = split(rows, 0.2, 0)
    assert sorted(train + held_out) == list(range(amount))
    assert len(held_out) == max(1, round(amount * 0.2))


def test_copies_of_templated_rows_are_never_parted():
    rows = [chat(f"Translate the word number {n} into all the languages that you know.", f"{n}.") for n in range(50)]
    train, held_out = split(rows * 2, 0.2, 3)
    assert held_out
    assert {index % 50 for index in train}.isdisjoint({index % 50 for index in held_out})


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_are_alike_in_a_chain_stay_together(seed):
    question, answer = LONG[0]
    chain = [chat(question, answer)]
    for place in range(3, 30, 3):
        question = change_word(question, place, f"word{place}")
        chain.append(chat(question, answer))
    rows = [*make_chats(60), *chain]
    train, held_out = split(rows, 0.3, seed)
    assert held_out
    assert not any(index >= 60 for index in train) or not any(index >= 60 for index in held_out)


def test_share_that_is_held_out_is_the_one_that_was_asked_for():
    rows = make_chats(1000)
    for share in (0.05, 0.1, 0.5):
        assert len(split(rows, share, 0)[1]) == pytest.approx(1000 * share, abs=1)


def test_conflict_and_setting_are_seen_where_texts_are_long(write_jsonl):
    long = "word " * 60
    rows = [
        {"prompt": f"Question number {n} about {varied}?", "response": f"Answer {n}."}
        for n, varied in enumerate("abcdefghijklmnopqrstuvwx")
    ]
    short = [
        {"prompt": "What is the way home?", "response": "Left."},
        {"prompt": "What is the way home?", "response": f"{long} right."},
    ]
    said = [problem for problem in check(write_jsonl([*rows, *short])).problems if "another answer" in problem.problem]
    assert [problem.row for problem in said] == [26]
    settings = [{"system": f"{long} {who} {long}", "prompt": "Who are you?", "response": who} for who in ("Ann", "Bob")]
    report = check(write_jsonl([*({**row, "system": long} for row in rows), *settings]))
    assert not [problem for problem in report.problems if problem.row and problem.row > 24]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_text_has_the_same_fingerprint_beside_texts_without_words(place):
    texts = ["", "", ""]
    texts[place] = "The last word of a text counts."
    alone = fingerprint_texts([Texts("", texts[place], "yes")])
    beside = fingerprint_texts([Texts("", text, "yes") for text in texts])
    assert beside.asked[place] == alone.asked[0]
    assert (beside.asked_sketch[:, place] == alone.asked_sketch[:, 0]).all()
    assert sorted(beside.asked == 0) == [False, True, True]


def write_alike(write_jsonl, count):
    same = "The word that differs is the one at the very end of this long sentence, and it is"
    return write_jsonl({"prompt": f"{same} {n}?", "response": f"{same} {n}."} for n in range(count))


def test_most_near_duplicates_are_not_listed_and_said_to_be_at_least_so_many(write_jsonl, monkeypatch):
    monkeypatch.setattr(row_checks, "MOST_NEAR_DUPLICATES", 100)
    path = write_alike(write_jsonl, 6000)
    report = check(path)
    found = report.repairs["drop_near_duplicates"].possible
    assert 100 <= found < 5999
    (whole,) = [problem.problem for problem in report.problems if problem.row is None]
    assert whole == f"At least {found:,} rows are near-duplicates of others; then the search was ended."
    assert report.counts.warnings == found + 1
    dropped = check(path, repairs=["drop_near_duplicates"])
    assert dropped.repairs["drop_near_duplicates"].done == 5999
    assert len(dropped.mapped_rows) == 1


def test_near_duplicates_up_to_that_number_are_all_found(write_jsonl):
    assert row_checks.MOST_NEAR_DUPLICATES >= 20_000
    report = check(write_alike(write_jsonl, 6000))
    assert report.repairs["drop_near_duplicates"].possible == report.counts.warnings == 5999
    assert len({problem.row for problem in report.all_problems}) == 5999


def test_near_duplicates_among_many_rows_are_found(write_jsonl):
    """Of so many, fewer pairs are compared (`MANY_ROWS`)."""
    rows = make_pairs(MANY_ROWS + 1000)
    places = {}
    for seed in range(30):
        question, answer = make_long_pair(seed)
        rows += [(question, answer), (change_word(question, 3 + seed % 7), f"{answer} Yes.")]
        places[len(rows)] = len(rows) - 1
    report = check(write_jsonl(objects(rows)))
    found = {problem.row: problem.problem for problem in report.all_problems}
    assert {row: found.get(row) for row in places} == {
        row: f"This row is a near-duplicate of row {other}." for row, other in places.items()
    }


@pytest.mark.parametrize("read", ["columns", "chats"])
def test_near_duplicates_are_those_that_comparing_every_pair_word_by_word_finds(write_jsonl, read):
    rows = list(VARIED)
    for seed, changes in enumerate([1, 2, 5, 10, 15, 18, 22, 25, 30, 36]):
        question, answer = make_long_pair(seed)
        rows.append((question, answer))
        for place in range(changes):
            answer = change_word(answer, place * 3, f"zeppelin{place}")
        rows.append((question, answer.upper() if seed % 2 else answer))
    texts = [f"{question}\n{answer}" for question, answer in rows]
    expected = {
        row + 1
        for row, text in enumerate(texts)
        if any(share_words(text, other) >= SIMILAR_ROW for other in texts[:row])
    }
    report = check(write_jsonl(objects(rows) if read == "columns" else [chat(*pair) for pair in rows]))
    assert {row for row, problem in warnings(report) if "near-duplicate" in problem} == expected
    assert 3 < len(expected) < 10
