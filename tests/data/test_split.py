from __future__ import annotations

import pytest

from modelforge.data.split import count_held_out, divide, split
from modelforge.recipe import Recipe, read_stored


def chat(prompt, response="yes"):
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]}


ROWS = [chat(f"question {n}") for n in range(50)]
PLACES = ["Bremen", "Graz", "Lyon", "Porto", "Turin", "Ghent", "Basel", "Cork", "Brno", "Gdansk"]


def test_every_row_is_on_one_side():
    train, held_out = split(ROWS, 0.1, 0)
    assert sorted(train + held_out) == list(range(50))
    assert len(held_out) == 5


def test_same_seed_gives_the_same_split_and_another_seed_another():
    assert split(ROWS, 0.2, 1) == split(list(ROWS), 0.2, 1)
    assert split(ROWS, 0.2, 1) != split(ROWS, 0.2, 2)


def test_zero_holds_nothing_out():
    assert split(ROWS, 0, 0) == (list(range(50)), [])


@pytest.mark.parametrize("seed", range(3))
def test_rows_with_the_same_prompt_stay_together(seed):
    rows = [
        chat(prompt, f"{n}") for n in range(12) for prompt in (f"What is {n}?", f"  WHAT is\n{n}? ", f"What is {n}?")
    ]
    train, held_out = split(rows, 0.3, seed)
    assert not {index // 3 for index in train} & {index // 3 for index in held_out}
    assert held_out


def test_training_keeps_its_duplicates():
    train, _ = split([chat("a"), chat("a"), chat("a"), chat("b")], 0.25, 0)
    assert train == [0, 1, 2]


@pytest.mark.parametrize("rows", [[chat("a"), chat("b")], [chat("a")] * 5 + [chat("b")] * 4])
def test_two_prompts_are_enough_to_hold_one_out(rows):
    train, held_out = split(rows, 0.01, 0)
    assert train
    assert held_out


def test_one_prompt_alone_is_never_split():
    assert split([chat("a", "1"), chat("a", "2")], 0.5, 0) == ([0, 1], [])


def test_later_turns_do_not_part_chats_that_begin_alike():
    follow_up = {"messages": [*chat("a")["messages"], *chat("b")["messages"]]}
    for seed in range(5):
        train, _ = split([chat("a"), follow_up, chat("c")], 0.3, seed)
        assert {0, 1} <= set(train) or train == [2]


def ask(context, question):
    return {"context": context, "question": question, "answers": {"text": [context[:1]], "answer_start": [0]}}


@pytest.mark.parametrize("seed", range(3))
def test_questions_on_one_context_stay_together_and_the_same_question_on_others_does_not(seed):
    rows = [ask(f"{place} has a tower.", question) for place in PLACES for question in ("Who?", "Where?", "When?")]
    train, held_out = split(rows, 0.3, seed)
    assert not {index // 3 for index in train} & {index // 3 for index in held_out}
    assert len(held_out) == 9


def test_one_context_alone_is_never_split():
    assert split([ask("Bremen has a tower.", f"q{n}") for n in range(10)], 0.1, 0) == (list(range(10)), [])


def test_added_rows_do_not_move_the_others_in_order():
    fewer, more = split(ROWS[:40], 0.5, 0)[1], split(ROWS, 0.5, 0)[1]
    assert len(set(fewer) & set(more)) >= 15


@pytest.mark.parametrize(
    ("rows", "share", "least", "held_out"),
    [(60, 0.1, 40, 15), (200, 0.1, 40, 40), (1000, 0.1, 40, 100), (3, 0.1, 40, 1), (60, 0.1, 0, 6), (60, 0, 40, 0),
     (60, 0.5, 40, 30)],
)  # fmt: skip
def test_enough_rows_are_held_out_where_that_is_at_most_a_quarter(rows, share, least, held_out):
    assert count_held_out(rows, share, least) == held_out


def test_recipe_holds_out_enough_by_default_and_one_from_before_holds_out_what_it_did():
    assert len(divide(ROWS, Recipe())[1]) == 12
    old = read_stored({"eval_split": 0.1}, 1).recipe
    assert divide(ROWS, old) == split(ROWS, 0.1, 0)
    assert divide(ROWS, Recipe(min_eval_rows=0)) == split(ROWS, 0.1, 0)
