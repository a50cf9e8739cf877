from __future__ import annotations

import unicodedata

import pytest

from modelforge.data.split import SAME, SAME_CONTEXT, SAME_QUESTION, SAME_WORDS, SIMILAR, Leak, find_leaks, split
from tests.data.varied import chat, make_chats, make_long_pair, make_pairs


def shout(text):
    return f"\n  {text.upper()}\t".replace(" ", "   ")


def change_word(text, place):
    """The text with another word in the middle of it."""
    words = text.split(" ")
    words[place] = "zeppelin"
    return " ".join(words)


def ask(context, question):
    return {"context": context, "question": question, "answers": {"text": [context[:4]], "answer_start": [0]}}


LONG = [make_long_pair(seed) for seed in range(12)]
CAFE = ("Où est le café de l'hôtel à Zürich, près de la gare?", "À côté, derrière l'église.")

# What is planted in training, what in the evaluation file, and what the leak is called.
PLANTED = {
    "the same row": (chat(*LONG[0]), chat(*LONG[0]), SAME),
    "case and space changed": (chat(*LONG[1]), chat(*map(shout, LONG[1])), SAME_WORDS),
    "Unicode form changed": (chat(*CAFE), chat(*(unicodedata.normalize("NFD", text) for text in CAFE)), SAME_WORDS),
    "one word of the question changed": (chat(*LONG[2]), chat(change_word(LONG[2][0], 9), LONG[2][1]), SIMILAR),
    "one word of the answer changed, too": (
        chat(*LONG[3]),
        chat(change_word(LONG[3][0], 4), change_word(LONG[3][1], 7)),
        SIMILAR,
    ),
    "the same question, answered otherwise": (chat(*LONG[4]), chat(LONG[4][0], LONG[5][1]), SAME_QUESTION),
    "nearly the same question, answered otherwise": (
        chat(*LONG[6]),
        chat(change_word(LONG[6][0], 12), LONG[7][1]),
        SIMILAR,
    ),
    "a chat that begins with the same question": (
        chat(*LONG[8]),
        {"messages": [*chat(LONG[8][0], LONG[9][1])["messages"], *chat(*LONG[10])["messages"]]},
        SAME_QUESTION,
    ),
}
PASSAGES = [make_long_pair(seed)[1] for seed in range(50, 110)]
PLANTED_SPANS = {
    "the same context": (ask(PASSAGES[0], "Who?"), ask(PASSAGES[0], "Where to?"), SAME_CONTEXT),
    "the same context but for case and space": (
        ask(PASSAGES[1], "Who?"),
        ask(shout(PASSAGES[1]), "Why?"),
        SAME_CONTEXT,
    ),
    "nearly the same context": (ask(PASSAGES[2], "Who?"), ask(change_word(PASSAGES[2], 8), "How?"), SIMILAR),
    "the same row": (ask(PASSAGES[3], "Who?"), ask(PASSAGES[3], "Who?"), SAME),
}


def plant(training, evaluation, planted):
    """Both files with one leak of each kind among their own rows; and the leaks."""
    training, evaluation, leaks = list(training), list(evaluation), []
    for index, (known, leaked, kind) in enumerate(planted.values()):
        place, at = 7 * index + 2, len(training) - 31 * index - 5
        training.insert(at, known)
        evaluation.insert(place, leaked)
        leaks = [Leak(leak.evaluation_row, leak.training_row + (leak.training_row > at), leak.kind) for leak in leaks]
        leaks.append(Leak(place + 1, at + 1, kind))
    return training, evaluation, leaks


@pytest.mark.parametrize("name", PLANTED)
def test_planted_leak_is_found_among_300_rows_with_its_kind_and_rows(name):
    training, evaluation, leaks = plant(make_chats(300), make_chats(50, seed=1), {name: PLANTED[name]})
    assert find_leaks(training, evaluation) == leaks


def test_all_planted_leaks_are_found_at_once_and_nothing_else():
    training, evaluation, leaks = plant(make_chats(300), make_chats(60, seed=1), PLANTED)
    assert find_leaks(training, evaluation) == leaks


def test_contexts_leak_and_a_question_that_is_asked_of_another_context_does_not():
    varied = [ask(passage, question) for passage in PASSAGES[10:40] for question in ("Who?", "Where?")]
    new = [ask(passage, question) for passage in PASSAGES[40:] for question in ("Who?", "Where?")]
    training, evaluation, leaks = plant(varied * 3, new, PLANTED_SPANS)
    assert find_leaks(training, evaluation) == leaks


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.1, 0.3])
def test_nothing_planted_is_left_across_the_sides_of_a_split(seed, share):
    training, evaluation, _ = plant(make_chats(300), make_chats(60, seed=1), PLANTED)
    assert_clean_split([*training, *evaluation], seed, share)


@pytest.mark.parametrize("seed", range(3))
def test_no_context_is_left_across_the_sides_of_a_split(seed):
    varied = [ask(passage, question) for passage in PASSAGES[10:] for question in ("Who?", "Where?")]
    training, evaluation, _ = plant(varied, [ask(text, "Why?") for text in PASSAGES[4:10] * 5], PLANTED_SPANS)
    assert_clean_split([*training, *evaluation], seed, 0.2)


def assert_clean_split(rows, seed, share):
    train, held_out = split(rows, share, seed)
    assert sorted(train + held_out) == list(range(len(rows)))
    assert 0.5 * share * len(rows) <= len(held_out) <= share * len(rows) + 1
    assert find_leaks([rows[index] for index in train], [rows[index] for index in held_out]) == []


@pytest.mark.parametrize("seed", range(2))
def test_varied_rows_raise_no_alarm(seed):
    assert find_leaks(make_chats(1000, seed), make_chats(300, seed + 100)) == []


@pytest.mark.parametrize("name", [name for name in PLANTED if PLANTED[name][2] == SIMILAR])
def test_half_of_the_words_changed_is_no_leak(name):
    known, _, _ = PLANTED[name]
    question, answer = (turn["content"].split(" ") for turn in known["messages"])
    other = chat(" ".join(mix(question)), " ".join(mix(answer)))
    assert find_leaks([known, *make_chats(300)], [other]) == []


def mix(words):
    return [word if index % 2 else f"{word[::-1]}x{index}" for index, word in enumerate(words)]


def test_leaked_row_is_listed_once_with_its_strongest_leak_and_the_first_row_that_gives_it_away():
    question, answer = LONG[0]
    training = [*make_chats(20), chat(question, "No."), chat(*map(shout, LONG[0])), chat(question, answer)]
    training.append(chat(question, answer))
    assert find_leaks(training, [chat(question, answer)]) == [Leak(1, 23, SAME)]
    assert find_leaks(training[:22], [chat(question, answer)]) == [Leak(1, 22, SAME_WORDS)]
    assert find_leaks(training[:21], [chat(question, answer)]) == [Leak(1, 21, SAME_QUESTION)]
    assert find_leaks(training[:20], [chat(question, answer)]) == []


def test_each_row_of_an_evaluation_file_that_is_the_training_file_leaks():
    rows = make_chats(100)
    assert find_leaks(rows, rows) == [Leak(n, n, SAME) for n in range(1, 101)]


@pytest.mark.parametrize(("training", "evaluation"), [([], []), (make_chats(3), []), ([], make_chats(3))])
def test_nothing_leaks_into_nothing(training, evaluation):
    assert find_leaks(training, evaluation) == []


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"text": LONG[0][0]}, SAME),
        ({"prompt": chat(*LONG[0])["messages"][:1]}, SAME),
        (
            {
                "prompt": chat(*LONG[0])["messages"][:1],
                "chosen": [{"role": "assistant", "content": "A"}],
                "rejected": [{"role": "assistant", "content": "B"}],
            },
            SAME,
        ),
    ],
)
def test_rows_of_every_form_are_compared(row, kind):
    assert find_leaks([*make_chats(5), row], [row]) == [Leak(1, 6, kind)]


def test_passages_of_plain_text_do_not_leak_for_having_no_question():
    texts = [{"text": f"{question} {answer}"} for question, answer in make_pairs(100)]
    assert find_leaks(texts[:50], texts[50:]) == []


def make_article(words, seed):
    """A long text of so many words or a few more."""
    sentences = [f"{question} {answer}" for question, answer in make_pairs(words // 20, seed)]
    return " ".join(sentences)


@pytest.mark.parametrize("words", [60, 6000])
@pytest.mark.parametrize(
    "change",
    [shout, lambda text: text.replace(". ", ".\n        "), lambda text: f"{text}\n\n"],
    ids=["shouted", "indented", "newlines at the end"],
)
def test_long_text_that_is_the_same_but_for_case_and_space_leaks_however_long_it_is(words, change):
    articles = [make_article(words, seed) for seed in range(20)]
    rows = [chat(article, f"{number}.") for number, article in enumerate(articles)]
    leaked = chat(change(articles[7]), "7.")
    assert find_leaks(rows, [leaked]) == [Leak(1, 8, SAME_WORDS)]
    for seed in range(5):
        train, held_out = split([*rows, leaked], 0.2, seed)
        assert {7, 20} <= set(train) or {7, 20} <= set(held_out)


@pytest.mark.parametrize("words", [600, 6000])
def test_long_texts_with_the_same_beginning_and_end_are_others_where_their_middles_are(words):
    begin, end = make_article(words // 4, 1), make_article(words // 4, 2)
    one, other = (f"{begin} {make_article(words, seed)} {end}" for seed in (3, 4))
    assert find_leaks([*make_chats(20), chat(one, "One.")], [chat(other, "One.")]) == []
    assert find_leaks([*make_chats(20), chat(one, "One.")], [chat(one, "One.")]) == [Leak(1, 21, SAME)]


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_long_text_in_which_one_word_is_changed_leaks_wherever_the_word_is(share):
    articles = [make_article(6000, seed) for seed in range(10)]
    changed = change_word(articles[3], round(share * len(articles[3].split(" "))))
    rows = [chat(article, f"{number}.") for number, article in enumerate(articles)]
    assert find_leaks(rows, [chat(changed, "3.")]) == [Leak(1, 4, SIMILAR)]


@pytest.mark.parametrize("words", [200, 2000])
def test_long_text_leaks_in_another_wrapping(words):
    articles = [make_article(words, seed) for seed in range(10)]
    wrapped = f"Please read this with some care: {articles[3]} Thank you for your time!"
    rows = [chat(article, f"{number}.") for number, article in enumerate(articles)]
    assert find_leaks(rows, [chat(wrapped, "3.")]) == [Leak(1, 4, SIMILAR)]
    for seed in range(5):
        train, held_out = split([*rows, chat(wrapped, "3.")], 0.2, seed)
        assert {3, 10} <= set(train) or {3, 10} <= set(held_out)
