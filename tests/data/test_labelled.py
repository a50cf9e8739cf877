"""Files of answers with a label or a rating: recognised, read, and never taken as good examples in silence."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from modelforge.choices.combinations import check_method
from modelforge.data.checks import check
from modelforge.data.prepare import prepare, read_rows
from modelforge.errors import RecipeError
from modelforge.recipe import Task

Write = Callable[[Iterable[Any]], Path]
COUNT = 24
PROMPTS = [f"What is {number} times seven?" for number in range(COUNT)]
ANSWERS = [f"It is {number * 7}, which is easy." for number in range(COUNT)]
COLUMNS = {"prompt": "prompt", "completion": "completion", "label": "label"}
LABELS = [number % 3 > 0 for number in range(COUNT)]


def rows(**columns: Callable[[int], Any]) -> list[dict[str, Any]]:
    return [{name: make(number) for name, make in columns.items()} for number in range(COUNT)]


def ask(number: int) -> str:
    return PROMPTS[number]


def answer(number: int) -> str:
    return ANSWERS[number]


def turns(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": PROMPTS[number]}]


def reply(number: int) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": ANSWERS[number]}]


MAPPED = [{"prompt": turns(n), "completion": reply(n), "label": LABELS[n]} for n in range(COUNT)]


def pick(good: Any, bad: Any) -> Callable[[int], Any]:
    return lambda number: good if LABELS[number] else bad


SHAPES = {
    "kto-mix": rows(prompt=turns, completion=reply, label=lambda n: LABELS[n]),
    "texts": rows(prompt=ask, completion=answer, label=lambda n: LABELS[n]),
    "numbers": rows(instruction=ask, output=answer, label=pick(1, 0)),
    "plus and minus": rows(question=ask, answer=answer, vote=pick(1, -1)),
    "thumbs": rows(prompt=ask, response=answer, feedback=pick("👍", "👎")),
    "thumbs up": rows(prompt=ask, response=answer, thumbs_up=pick("yes", "no")),
    "HelpSteer": rows(
        prompt=ask, response=answer, helpfulness=lambda n: (3 + n % 2) if LABELS[n] else n % 3, verbosity=lambda n: 2
    ),
    "stars": rows(question=ask, answer=answer, stars=lambda n: (4 + n % 2) if LABELS[n] else 1),
    "scores as text": rows(prompt=ask, completion=answer, score=pick("8.5", "2")),
    "whole chats": rows(messages=lambda n: turns(n) + reply(n), label=lambda n: LABELS[n]),
    "sharegpt": rows(
        conversations=lambda n: [{"from": "human", "value": ask(n)}, {"from": "gpt", "value": answer(n)}],
        rating=pick(5, 1),
    ),
    "whole chats as completions": rows(prompt=turns, completion=lambda n: turns(n) + reply(n), label=pick(1, 0)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_labels_and_ratings_beside_an_answer_are_recognised(write_jsonl: Write, name: str) -> None:
    report = check(write_jsonl(SHAPES[name]))
    assert (report.shape.name, report.ok, report.shape.methods) == ("labelled", True, ("kto",))
    assert list(report.mapped_rows) == MAPPED
    assert f"{sum(LABELS)} answers are labelled good and {COUNT - sum(LABELS)} bad." in report.notes
    assert read_rows(prepare(report).id) == MAPPED


def test_labels_of_a_table_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["prompt", "completion", "label"])
        writer.writeheader()
        writer.writerows(SHAPES["texts"])
    assert list(check(path).mapped_rows) == MAPPED


def test_scale_of_ratings_is_said(write_jsonl: Write) -> None:
    report = check(write_jsonl(SHAPES["HelpSteer"]))
    assert "Ratings from 0 to 4: above 2 an answer counts as good." in report.notes
    assert report.mapping.reasons["label"].endswith("above 2 an answer counts as good.")
    assert report.unused_columns == ("verbosity",)


@pytest.mark.parametrize(
    ("values", "good_above"),
    [([1, 5, 3], 3), ([0, 4, 2], 2), ([4, 5], 3), ([4.5, 5], 3), ([7, 9], 5.5), ([30, 90], 50), ([-3.5, 2.0], 0)],
)
def test_rating_is_good_above_the_middle_of_its_scale(
    write_jsonl: Write, values: list[float], good_above: float
) -> None:
    given = rows(prompt=ask, response=answer, rating=lambda n: values[n % len(values)])
    labels = [row["label"] for row in check(write_jsonl(given)).mapped_rows]
    assert labels == [row["rating"] > good_above for row in given]


@pytest.mark.parametrize(
    "column",
    [
        rows(prompt=ask, response=answer, label=lambda n: n % 5),  # classes
        rows(prompt=ask, response=answer, label=lambda n: ["sport", "news"][n % 2]),
        rows(prompt=ask, response=answer, score=lambda n: f"page {n}"),
    ],
)
def test_classes_and_words_are_no_labels(write_jsonl: Write, column: list[dict[str, Any]]) -> None:
    report = check(write_jsonl(column))
    assert report.shape.name == "chat" and report.ok
    assert len(report.notes) == 1 and "every answer is learned as a good one" in report.notes[0]


def test_preference_pairs_with_scores_stay_pairs(write_jsonl: Write) -> None:
    given = rows(
        prompt=ask,
        chosen=lambda n: turns(n) + reply(n),
        rejected=lambda n: [*turns(n), {"role": "assistant", "content": "No."}],
        messages=lambda n: turns(n) + reply(n),
        score_chosen=lambda n: 8.0,
        score_rejected=lambda n: 2.0,
    )
    report = check(write_jsonl(given))
    assert report.shape.name == "preference"
    assert report.notes == (
        "Scores and ratings are not used: score_chosen, score_rejected.",
        "Not used: messages.",
    )


# ---- as examples -----------------------------------------------------------------------------------------------


def test_bad_answers_are_a_problem_as_examples_and_a_fix_keeps_the_good_ones(write_jsonl: Write) -> None:
    path = write_jsonl(SHAPES["texts"])
    report = check(path, shape="chat")
    assert not report.ok and report.counts.errors == COUNT - sum(LABELS)
    first = report.problems[0]
    assert (first.row, first.line, first.column) == (1, 1, "label")
    assert first.problem == "This answer is labelled bad, and here every answer is learned as a good one."
    assert report.repairs["keep_good_answers"].possible == COUNT - sum(LABELS)
    ways: list[dict[str, Any]] = [{"shape": "chat"}, {}, {"shape": "labelled", "columns": COLUMNS}]
    for way in ways:
        kept = check(path, repairs=["keep_good_answers"], **way)
        assert kept.ok and kept.shape.methods == ("sft",)
        assert [row["messages"][1]["content"] for row in kept.mapped_rows] == [
            answer for answer, good in zip(ANSWERS, LABELS, strict=True) if good
        ]
        assert kept.repairs["keep_good_answers"].done == COUNT - sum(LABELS)
    assert check(path).repairs["keep_good_answers"].possible == COUNT - sum(LABELS)
    everything = check(path, shape="chat", columns={"label": ""})
    assert everything.ok and len(everything.mapped_rows) == COUNT


@pytest.mark.parametrize("name", SHAPES)
def test_good_ones_of_every_shape_can_be_examples(write_jsonl: Write, name: str) -> None:
    report = check(write_jsonl(SHAPES[name]), repairs=["keep_good_answers"])
    assert report.ok and report.shape.name == "good_answers"
    assert list(report.mapped_rows) == [
        {"messages": [*row["prompt"], *row["completion"]]} for row in MAPPED if row["label"]
    ]


def test_row_without_a_label_is_not_taken_as_good(write_jsonl: Write) -> None:
    given = [{**row, "label": None if n == 5 else True} for n, row in enumerate(SHAPES["texts"])]
    [problem] = [each for each in check(write_jsonl(given), shape="chat").problems if each.severity == "error"]
    assert problem.row == 6 and "has no label" in problem.problem


def test_method_for_examples_is_refused_with_the_fix() -> None:
    with pytest.raises(RecipeError) as caught:
        check_method(Task.TEXT_GENERATION, "sft", "labelled")
    assert caught.value.fix.startswith("Use kto. Or set repairs: keep_good_answers")


# ---- what is wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": None}, "There is no label (null)."),
        ({"label": "perhaps"}, "no label: 'perhaps'"),
        ({"completion": ""}, "The text is blank."),
        ({"completion": [{"role": "user", "content": "No."}]}, "does not begin with a turn of the assistant"),
    ],
)
def test_wrong_row_is_named(write_jsonl: Write, change: dict[str, Any], said: str) -> None:
    given = [*SHAPES["texts"], {**SHAPES["texts"][0], "prompt": "And now?", **change}]
    [problem] = [each for each in check(write_jsonl(given), columns=COLUMNS).problems if each.severity == "error"]
    assert problem.row == COUNT + 1 and said in problem.problem and problem.fix


@pytest.mark.parametrize(("label", "which"), [(True, "good"), (False, "bad")])
def test_answers_of_one_label_are_said(write_jsonl: Write, label: bool, which: str) -> None:
    report = check(write_jsonl([{**row, "label": label} for row in SHAPES["texts"]]))
    assert not report.ok
    assert report.problems[0].problem.startswith(f"All {COUNT} answers are labelled {which};")
