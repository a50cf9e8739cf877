"""Patterns and schemas of users: which are refused, and that those accepted judge any answer in bounded time."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from pydantic import ValidationError

from modelforge.recipe.rewards import Contains, MatchesPattern, ValidJson
from modelforge.scores.rewards import score
from modelforge.scores.user_patterns import CHECK_SECONDS, fits

ENDLESS = "(a+)+$"
MANY_BYTES = [
    r"a{1000000000}",
    r"(?:a{9999}){9999}",
    r"(?x)(a{9999}) {9999}",
    "a{9999}" * 1400,
    r"(a{00000009999}){9999}",
]


@pytest.mark.parametrize("pattern", MANY_BYTES)
def test_pattern_that_would_take_gigabytes_is_refused_before_it_is_compiled(pattern: str) -> None:
    for refuse in (lambda: MatchesPattern(pattern=pattern), lambda: ValidJson(json_schema={"pattern": pattern})):
        with pytest.raises(ValidationError, match="100,000 steps"):
            refuse()


@pytest.mark.parametrize("pattern", ["(" * 900 + ")" * 900, "(" * 5000])
def test_pattern_that_is_nested_too_deeply_is_refused_with_a_sentence(pattern: str) -> None:
    for refuse in (lambda: MatchesPattern(pattern=pattern), lambda: ValidJson(json_schema={"pattern": pattern})):
        with pytest.raises(ValidationError, match=r"nested too deeply|not a regular expression"):
            refuse()


@pytest.mark.parametrize(
    "pattern",
    [
        r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        r"(?:\d{1,3}\.){3}\d{1,3}",
        r"(?:\d{4}[ -]){3}\d{4}",
        r"^.{0,99999}$",
        r"(\w+ ){20,200}",
        r"\{12345\}",
    ],
)
def test_usual_repeats_are_accepted(pattern: str) -> None:
    assert MatchesPattern(pattern=pattern).pattern == pattern


@pytest.mark.parametrize(
    "schema",
    [
        {"patternProperties": {ENDLESS: True}, "unevaluatedProperties": False},
        {"properties": {"a": {"allOf": [{"unevaluatedItems": False}]}}},
    ],
)
def test_keyword_that_searches_without_a_limit_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"unevaluated(Properties|Items) is not supported"):
        ValidJson(json_schema=schema)


@pytest.mark.parametrize(
    "hidden",
    [
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#/nowhere"},
        {"type": "objekt"},
        {"pattern": "("},
        {"pattern": "a{1000000000}"},
        {"unevaluatedProperties": False},
        ["no schema"],
        "no schema",
        5,
    ],
)
def test_part_that_only_a_reference_leads_to_is_checked_too(hidden: Any) -> None:
    with pytest.raises(ValidationError, match=r"points to nothing|not a JSON Schema|steps|not supported"):
        ValidJson(json_schema={"$ref": "#/hidden/0", "hidden": [hidden]})
    with pytest.raises(ValidationError, match=r"points to nothing|not a JSON Schema"):
        ValidJson(json_schema={"$ref": "#/hidden/0/1/2", "hidden": [hidden]})


def doubling(levels: int) -> dict[str, Any]:
    """Each level checks the one below twice: 2**levels checks."""
    named = {f"n{n}": {"allOf": [{"$ref": f"#/$defs/n{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/n0", "$defs": {**named, f"n{levels}": {}}}


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        (doubling(40), "1"),
        (
            {"anyOf": [{"items": {"$ref": "#"}, "maxItems": 0}, {"items": {"$ref": "#"}, "maxItems": 1}]},
            "[" * 60 + "]" * 60,
        ),
        (
            {"patternProperties": {rf"(a+)+{n}$": {} for n in range(50)}},
            json.dumps({f"{n}{'a' * 25}!": 1 for n in range(99)}),
        ),
    ],
    ids=["allOf", "anyOf", "patterns"],
)
def test_check_that_takes_forever_is_given_up(schema: dict[str, Any], answer: str) -> None:
    reward = ValidJson(json_schema=schema)
    started = time.thread_time()
    score(reward, answer, "")
    assert time.thread_time() - started < 3 * CHECK_SECONDS  # the bound that the setting promises


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([1, True, "1", None, [1], {"a": 1}, 0, False], True),
        ([1, 1.0], False),
        ([{"a": 1, "b": [2]}, {"b": [2.0], "a": 1}], False),
        ([[True], [1]], True),
        ([{"a": n} for n in range(30_000)], True),
    ],
)
def test_items_are_unique_as_in_the_standard(items: list[Any], expected: bool) -> None:
    assert fits(items, {"uniqueItems": True}) is expected


def test_phrase_is_searched_for_in_an_answer_that_repeats_its_beginning() -> None:
    assert score(Contains(words=("a " * 400 + "b",)), "a " * 30_000, "") == 0
    assert score(Contains(words=("a " * 400 + "b",)), "a " * 30_000 + "b", "") == 1
