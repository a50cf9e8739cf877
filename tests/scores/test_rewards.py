"""Rewards: what each gives, that no answer of a model makes one raise or wait, and what TRL is handed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from modelforge.errors import RecipeError
from modelforge.recipe import Recipe
from modelforge.recipe.rewards import (
    Avoids,
    Contains,
    Length,
    MatchesPattern,
    MatchesReference,
    Reward,
    ValidJson,
)
from modelforge.scores import rewards, user_patterns
from modelforge.scores.rewards import (
    SCORES,
    check_rows,
    contains_phrase,
    find_highest,
    name_rewards,
    reward_functions,
    score,
    total,
)
from modelforge.scores.user_patterns import SEARCHED_CHARACTERS


@pytest.fixture
def given_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The patterns of searches that took too long, in order."""
    seen: list[str] = []
    search = user_patterns.search

    def watch(pattern: str, text: str, *, whole: bool = False) -> bool:
        try:
            return search(pattern, text, whole=whole)
        except TimeoutError:
            seen.append(pattern)
            raise

    for module in (rewards, user_patterns):
        monkeypatch.setattr(module, "search", watch)
    return seen


PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^[A-Z]"}, "age": {"type": "integer", "minimum": 0}},
    "patternProperties": {"^x_": {"type": "number"}},
    "required": ["name"],
    "additionalProperties": False,
}
TREE = {"$defs": {"node": {"type": "array", "items": {"$ref": "#/$defs/node"}}}, "$ref": "#/$defs/node"}
ENDLESS = "(a+)+$"
ONE_OF_EACH: tuple[Any, ...] = (
    ValidJson(),
    ValidJson(json_schema=PERSON),
    ValidJson(json_schema=TREE),
    Length(least=3, most=5),
    Length(least=0, most=1, unit="characters"),
    Contains(words=("lamp", "the red boat", "C++", "灯")),
    Avoids(words=("lamp", "?")),
    MatchesPattern(pattern=r"\d+"),
    MatchesPattern(pattern=r".*", whole=True),
    MatchesReference(),
    MatchesReference(by="exact_match"),
    MatchesReference(by="contains"),
)


def refused(kind: Callable[..., Any], **given: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        kind(**given)
    return str(caught.value.errors()[0]["msg"])


# ---- what is declared is scored --------------------------------------------------------------------------------


def test_every_declared_reward_has_its_score_and_no_other() -> None:
    declared = get_args(get_args(Reward)[0])
    assert set(SCORES) == {kind.model_fields["type"].default for kind in declared}
    assert {type(reward) for reward in ONE_OF_EACH} == set(declared)


def test_every_setting_of_a_reward_says_what_it_is() -> None:
    for kind in get_args(get_args(Reward)[0]):
        assert kind.__doc__
        assert all(info.description for name, info in kind.model_fields.items() if name != "type"), kind


def test_scoring_loads_neither_torch_nor_gradio() -> None:
    code = (
        "import sys, modelforge.scores.rewards, modelforge.models.reward_preview;"
        "print(sorted({'torch', 'gradio', 'transformers', 'trl'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


@settings(max_examples=150, deadline=None)
@given(answer=st.text() | st.from_regex(r"[\[\]{}\",:0-9eE.\- a]*"), reference=st.text(max_size=30))
def test_score_of_any_texts_is_from_0_to_1(answer: str, reference: str) -> None:
    for reward in ONE_OF_EACH:
        assert 0 <= score(reward, answer, reference) <= 1
        assert score(reward, answer, reference) == score(reward, answer, reference)


# ---- valid_json ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ['{"a": [1, 2.5, null]}', "[]", "\n {}\n", "3", '"text"', "true", "1e999"])
def test_json_is_rewarded(answer: str) -> None:
    assert score(ValidJson(), answer, "") == 1


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Here it is: {}",
        "```json\n{}\n```",
        "{'a': 1}",
        '{"a": 1,}',
        '{"a": 1} {"a": 2}',
        "NaN",
        '{"a": -Infinity}',
        '{"a": 1, "a": 2}',
        '[{"b": {"a": 1, "a": 1}}]',
        "\ufeff{}",
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 50_000,
        "9" * 5000,
    ],
    ids=lambda answer: repr(answer[:20]),
)
def test_what_is_not_strictly_json_is_not_rewarded(answer: str) -> None:
    assert score(ValidJson(), answer, "") == 0


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"name": "Ada", "age": 36}', 1),
        ('{"name": "Ada", "x_height": 1.7}', 1),
        ('{"name": "ada"}', 0),
        ('{"name": "Ada", "x_height": "tall"}', 0),
        ('{"name": "Ada", "town": "London"}', 0),
        ('{"age": 36}', 0),
        ('{"name": "Ada", "age": -1}', 0),
        ("[]", 0),
        ("not JSON", 0),
    ],
)
def test_json_must_fit_the_schema(answer: str, expected: float) -> None:
    assert score(ValidJson(json_schema=PERSON), answer, "") == expected


def test_additional_properties_may_have_a_schema_of_their_own() -> None:
    reward = ValidJson(json_schema={"properties": {"a": {}}, "additionalProperties": {"type": "integer"}})
    assert score(reward, '{"a": "text", "b": 1}', "") == 1
    assert score(reward, '{"a": "text", "b": "text"}', "") == 0


@pytest.mark.parametrize("depth", [1, 30, 300, 900, 990])
def test_nested_json_is_judged_or_given_up_and_never_raises(depth: int) -> None:
    earned = score(ValidJson(json_schema=TREE), "[" * depth + "]" * depth, "")
    assert earned == 1 if depth <= 30 else earned in (0, 1)


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"$ref": "#"}, "1"),
        ({"multipleOf": 0.5}, "1" + "0" * 400),
        ({"multipleOf": 3}, "1e999"),
        ({"multipleOf": 0.01}, "1e308"),
        ({"uniqueItems": True}, '[1, "a", null, {}, [], 1]'),
    ],
)
def test_values_that_a_schema_chokes_on_do_not_raise(schema: dict[str, Any], answer: str) -> None:
    assert score(ValidJson(json_schema=schema), answer, "") in (0, 1)


@pytest.mark.parametrize(
    "schema",
    [
        {"items": {"pattern": ENDLESS}},
        {"items": {"patternProperties": {ENDLESS: {}}}},
        {"items": {"patternProperties": {ENDLESS: {}}, "additionalProperties": False}},
    ],
)
def test_endless_search_of_a_schema_is_given_up_once_for_an_answer(schema: dict[str, Any], given_up: list[str]) -> None:
    text = '"' + "a" * 5000 + '!"'
    item = text if "pattern" in schema["items"] else f"{{{text}: 1}}"
    assert score(ValidJson(json_schema=schema), f"[{', '.join([item] * 40)}]", "") == 0
    assert len(given_up) == 1


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "objekt"}, "$.type"),
        ({"properties": {"a": {"pattern": "("}}}, "$.properties.a.pattern"),
        ({"$schema": ["x"]}, "$schema"),
        ({"$ref": "#/$defs/nowhere"}, "'#/$defs/nowhere' points to nothing"),
        ({"properties": {"a": {"$ref": "https://example.com/schema.json"}}}, "nothing is downloaded"),
    ],
)
def test_schema_that_cannot_judge_is_refused(schema: dict[str, Any], said: str) -> None:
    assert said in refused(ValidJson, json_schema=schema)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        PERSON,
        TREE,
        {"properties": {"$ref": {"type": "string"}}},
        {"$id": "https://a.b/c", "$defs": {"d": {"$id": "e"}}, "items": {"$ref": "e"}},
        {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {}}, "$ref": "#/definitions/a"},
    ],
)
def test_schema_that_leads_only_into_itself_is_accepted(schema: dict[str, Any]) -> None:
    assert ValidJson(json_schema=schema).json_schema == schema


# ---- length ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "expected"), [(0, 0), (1, 0.25), (4, 1), (7, 1), (10, 1), (11, 0.9), (15, 0.5), (20, 0), (500, 0)]
)
@pytest.mark.parametrize("unit", ["words", "characters"])
def test_length_falls_evenly_to_nothing_at_none_and_at_twice_the_most(unit: Any, count: int, expected: float) -> None:
    answer = " word" * count if unit == "words" else "x" * count
    assert score(Length(unit=unit, least=4, most=10), answer, "") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("Don't panic: it's 3.5 metres.", 5),
        (" \n", 0),
        ("我爱东京。", 5),
        ("GPT是 模型", 4),
        ("กี่", 1),
        ("de la\u00a0mer", 3),
    ],
)
def test_words_are_counted_as_people_count_them(answer: str, words: int) -> None:
    assert score(Length(least=words, most=max(words, 1)), answer, "") == 1
    assert score(Length(least=words + 1, most=100), answer, "") < 1


def test_nothing_is_long_enough_where_nothing_is_allowed() -> None:
    assert score(Length(least=0, most=5), "", "") == 1


def test_least_above_most_is_refused() -> None:
    assert "more than most" in refused(Length, least=5, most=4)


# ---- contains, avoids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "phrase", "expected"),
    [
        ("Modern art.", "ART", True),
        ("a party", "art", False),
        ("an artist", "art", False),
        ("the\n red   boat!", "Red boat", True),
        ("the red boats", "red boat", False),
        ("STRASSE", "straße", True),
        ("cafe\u0301", "café", True),
        ("cafe\u0301", "cafe", False),
        ("I write C++.", "c++", True),
        ("Answer:yes", "answer:", True),
        ("a_b", "a", False),
        ("It is (42)", "42", True),
        ("142", "42", False),
        ("我爱东京塔", "东京", True),
        ("在Tokyo见", "tokyo", True),
        ("हिन्दी", "हिन्द", False),  # a vowel mark goes on with the word
        ("a.b", "a.b", True),
        ("axb", "a.b", False),
    ],
)
def test_phrase_is_found_as_whole_words_whatever_its_capitals(text: str, phrase: str, expected: bool) -> None:
    assert contains_phrase(text, phrase) is expected


@pytest.mark.parametrize(
    ("answer", "share"),
    [("The lamp is red.", 1), ("The LAMP, lamp, lamp.", 0.5), ("redder lamps", 0), ("", 0)],
)
def test_contains_gives_the_share_found_and_avoids_the_rest(answer: str, share: float) -> None:
    words = ("lamp", "red")
    assert score(Contains(words=words), answer, "") == share
    assert score(Avoids(words=words), answer, "") == 1 - share


def test_word_listed_twice_counts_once() -> None:
    assert score(Contains(words=("lamp", "LAMP", "red")), "a lamp", "") == 0.5


@pytest.mark.parametrize("words", [(), ("",), ("lamp", " ")])
@pytest.mark.parametrize("kind", [Contains, Avoids])
def test_words_that_are_none_are_refused(kind: Any, words: tuple[str, ...]) -> None:
    assert refused(kind, words=words)


# ---- matches_pattern -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "whole", "answer", "expected"),
    [
        (r"\d+", False, "It is 42.", 1),
        (r"\d+", True, "It is 42.", 0),
        (r"\d+", True, " 42\n", 1),
        (r"yes", False, "Yes", 0),
        (r"(?i)yes", False, "Yes", 1),
        (r"^a.b$", False, "a\nb", 0),
        (r"(?s)^a.b$", False, "a\nb", 1),
        (r"x$", False, "x" * (SEARCHED_CHARACTERS + 10), 1),
        (r"y", False, "x" * SEARCHED_CHARACTERS + "y", 0),
        (r"x*", True, "x" * (SEARCHED_CHARACTERS + 1), 0),
    ],
)
def test_pattern_is_found_or_is_the_whole_answer(pattern: str, whole: bool, answer: str, expected: float) -> None:
    assert score(MatchesPattern(pattern=pattern, whole=whole), answer, "") == expected


@pytest.mark.parametrize("pattern", [ENDLESS, r"^(([a-z])+.)+[A-Z]([a-z])+$", r"(.*?,){25}P"])
@pytest.mark.parametrize("whole", [False, True])
def test_search_without_end_is_given_up(pattern: str, whole: bool, given_up: list[str]) -> None:
    for answer in ("a" * 5000 + "!", "a," * 5000):
        given_up.clear()
        assert score(MatchesPattern(pattern=pattern, whole=whole), answer, "") == 0
        assert len(given_up) <= 1


def test_white_space_of_a_pattern_is_kept() -> None:
    reward = MatchesPattern(pattern="end ")
    assert score(reward, "end of it", "") == 1
    assert score(reward, "ended", "") == 0


@pytest.mark.parametrize("pattern", ["(", "a**", "(?P<n>", ""])
def test_pattern_that_is_none_is_refused(pattern: str) -> None:
    assert refused(MatchesPattern, pattern=pattern)


# ---- matches_reference -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "answer", "reference", "expected"),
    [
        ("f1", "The lamp is red.", "red lamp", 0.8),
        ("exact_match", "The Red lamp!", "red lamp", 1),
        ("exact_match", "a red lamp it is", "red lamp", 0),
        ("contains", "It costs 1000 dollars.", "1,000", 1),
        ("contains", "It costs 21000 dollars.", "1,000", 0),
        ("contains", "The Red lamp!", "red lamp.", 1),
        ("contains", "The answer is A.", "A", 1),
        ("contains", "The answer is B.", "A", 0),
        ("contains", "Choose +", "+", 1),
        ("contains", "答えは東京です", "東京", 1),
    ],
)
def test_answer_is_compared_with_the_reference(by: Any, answer: str, reference: str, expected: float) -> None:
    assert score(MatchesReference(by=by), answer, reference) == pytest.approx(expected)


@pytest.mark.parametrize("rewards", [(MatchesReference(),), (ValidJson(), MatchesReference(by="contains"))])
def test_rows_without_reference_are_refused_with_their_number(rewards: Any) -> None:
    prompt = [{"role": "user", "content": "Why?"}]
    rows = [{"prompt": prompt, "reference": "so"}, {"prompt": prompt}, {"prompt": prompt, "reference": " "}]
    check_rows(rewards, rows[:1])
    with pytest.raises(RecipeError, match="2 of 3 rows") as caught:
        check_rows(rewards, iter(rows))
    assert "first is row 2" in caught.value.what
    assert "matches_reference" in caught.value.where and caught.value.fix


def test_rows_need_no_reference_where_nothing_compares() -> None:
    rewards = (ValidJson(), Length(), Contains(words=("a",)))
    check_rows(rewards, [{"prompt": []}])


# ---- together, and for TRL -------------------------------------------------------------------------------------


def test_total_is_the_weighted_sum() -> None:
    rewards = (ValidJson(weight=2), Contains(words=("red", "blue"), weight=-4), Length(weight=0.5))
    assert total(rewards, '["red"]', "") == pytest.approx(2 - 2 + 0.5)
    assert find_highest(rewards) == 2.5
    assert total((), "anything", "") == 0


def test_names_are_never_the_same_twice() -> None:
    rewards = (ValidJson(), Length(), ValidJson(), Length(), ValidJson())
    assert name_rewards(rewards) == ["valid_json", "length", "valid_json_2", "length_2", "valid_json_3"]
    assert [function.__name__ for function in reward_functions(rewards)] == name_rewards(rewards)


def test_trainer_gets_a_score_for_each_completion_without_weights() -> None:
    texts = ["The lamp is red.", "7", ""]
    chats = [[{"role": "assistant", "content": text}] for text in texts]
    rewards = (ValidJson(weight=-3), MatchesReference(by="exact_match"))
    more = {"prompts": ["?"] * 3, "completion_ids": [[1]] * 3, "trainer_state": None, "log_extra": print}
    for completions in (texts, chats):
        valid, matches = (
            function(completions=completions, reference=["lamp is red", None, "8"], **more)
            for function in reward_functions(rewards)
        )
        assert valid == [0, 1, 0]
        assert matches == [1, 0, 0]
    assert reward_functions((Length(),))[0](completions=chats, **more) == [1, 1, 0]


def test_rewards_survive_a_recipe_file() -> None:
    rewards = [reward.model_dump(mode="json") for reward in ONE_OF_EACH]
    settings = {"method": "grpo", "grpo.rewards": rewards, "grpo.num_generations": 2}
    recipe = Recipe().with_settings({**settings, "gradient_accumulation_steps": 2})
    assert recipe.grpo.rewards == ONE_OF_EACH
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
