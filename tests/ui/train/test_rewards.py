"""The rows of the rewards editor as settings of a recipe, with a sentence for what is missing."""

from __future__ import annotations

from typing import Any

import pytest

from modelforge.errors import RecipeError
from modelforge.recipe.nested import Grpo
from modelforge.ui.train.rewards import KINDS, ROWS, read_rewards, show_default, show_fields

EMPTY = ["", 1.0, "", 1, 40, "f1"]


def rows(*given: list[Any]) -> list[Any]:
    return [value for row in [*given, *[EMPTY] * (ROWS - len(given))] for value in row]


def test_rows_become_rewards_in_their_order_and_empty_ones_nothing() -> None:
    given = rows(
        ["contains", 2.0, " yes , no problem,, ", 1, 40, "f1"],
        EMPTY,
        ["length", -0.5, "ignored", 3, 9, "f1"],
        ["matches_reference", 1.0, "", 1, 40, "exact_match"],
    )
    assert read_rewards(given) == [
        {"type": "contains", "weight": 2.0, "words": ["yes", "no problem"]},
        {"type": "length", "weight": -0.5, "least": 3, "most": 9},
        {"type": "matches_reference", "weight": 1.0, "by": "exact_match"},
    ]
    assert len(Grpo(rewards=read_rewards(given)).rewards) == 3  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_given(kind: str) -> None:
    text = {"valid_json": '{"type": "object"}', "matches_pattern": r"^\d+$"}.get(kind, "word")
    (reward,) = Grpo(rewards=read_rewards(rows([kind, 1.0, text, 1, 40, "f1"]))).rewards  # type: ignore[arg-type]
    assert reward.type == kind


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("contains", " , ", "There are no words"),
        ("matches_pattern", "", "There is no pattern"),
        ("valid_json", "{", "not valid JSON"),
        ("valid_json", "[]", "JSON object"),
    ],
)
def test_what_is_missing_is_said_with_its_row(kind: str, text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said) as caught:
        read_rewards(rows(EMPTY, [kind, 1.0, text, 1, 40, "f1"]))
    assert caught.value.where == "Reward 2"


def test_default_is_the_reference_where_there_is_one_else_the_length() -> None:
    for has_references, kind in ((True, "matches_reference"), (False, "length")):
        updates = show_default(visible=True, has_references=has_references)
        assert updates[4]["value"] == kind
        assert sum(update["visible"] for update in show_fields(kind)) == (1 if has_references else 2)
