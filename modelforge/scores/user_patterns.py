"""Searches for patterns of users and checks of JSON Schemas of users, limited in time.

Which of them a recipe accepts is in `recipe/user_patterns.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache
from typing import Any

# A dependency of transformers. Unlike `re` it has timeouts, and lets other threads run.
import regex  # type: ignore[import-untyped]

SEARCHED_CHARACTERS = 100_000
"""A pattern is searched for in the first so many characters; an answer of 8192 tokens seldom has more."""
SEARCH_SECONDS = 0.25
"""Processor time that the search for a pattern may take; some patterns, such as (a+)+$, would take years."""
CHECK_SECONDS = 1.0
"""Processor time that the check of an answer by a schema may take, all searches together."""

_ends: ContextVar[float] = ContextVar("ends")  # by time.thread_time(), when the check in progress is given up


def search(pattern: str, text: str, *, whole: bool = False) -> bool:
    """Raises TimeoutError where it takes more than SEARCH_SECONDS."""
    if whole:
        return len(text) <= SEARCHED_CHARACTERS and bool(regex.fullmatch(pattern, text, timeout=SEARCH_SECONDS))
    return bool(regex.search(pattern, text[:SEARCHED_CHARACTERS], timeout=SEARCH_SECONDS))


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value fits a schema. Raises TimeoutError where that takes more than CHECK_SECONDS, or a search in it
    more than SEARCH_SECONDS; RecursionError.

    Nothing is fetched for a schema: references lead inside it, as its setting has checked.
    """
    from jsonschema import Draft202012Validator, validators  # type: ignore[import-untyped]
    from referencing import Registry

    reader = _limit(validators.validator_for(schema, default=Draft202012Validator))
    _ends.set(time.thread_time() + CHECK_SECONDS)
    return bool(reader(schema, registry=Registry()).is_valid(value))


@cache
def _limit(dialect: Any) -> Any:
    """That version of JSON Schema with `search` in place of re.search, and a look at the clock in every keyword: nested
    references alone can make a few lines of schema take years."""
    from jsonschema import validators

    replaced = {
        "pattern": _check_pattern,
        "patternProperties": _check_pattern_properties,
        "additionalProperties": _check_additional_properties,
        "uniqueItems": _check_unique_items,
    }
    keywords = {name: check for name, check in (dialect.VALIDATORS | replaced).items() if name in dialect.VALIDATORS}
    return validators.extend(dialect, {name: _watch(check) for name, check in keywords.items()})


def _watch(check: Callable[..., Any]) -> Callable[..., Any]:
    def watched(validator: Any, wanted: Any, value: Any, schema: Any) -> Any:
        if time.thread_time() > _ends.get():
            raise TimeoutError
        return check(validator, wanted, value, schema)

    return watched


def _check_pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(value, "string") and not _search_in_time(pattern, value):
        yield ValidationError("the pattern is not found")


def _check_pattern_properties(validator: Any, patterns: Any, value: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(value, "object"):
        for pattern, wanted in patterns.items():
            for name, held in value.items():
                if _search_in_time(pattern, name):
                    yield from validator.descend(held, wanted)


def _check_additional_properties(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(value, "object"):
        for name, held in value.items():
            known = name in schema.get("properties", ())
            patterns = schema.get("patternProperties", ())
            if not known and not any(_search_in_time(pattern, name) for pattern in patterns):
                yield from validator.descend(held, wanted)


def _check_unique_items(validator: Any, wanted: bool, value: Any, schema: Any) -> Iterator[Any]:
    """By a set, where the library compares every object with every other one."""
    from jsonschema import ValidationError

    if wanted and validator.is_type(value, "array") and len({_freeze(each) for each in value}) < len(value):
        yield ValidationError("the items are not unique")


def _freeze(value: Any) -> Any:
    """The same for equal values of JSON, and no others: 1 equals 1.0, and true does not equal 1."""
    if isinstance(value, dict):
        return "object", frozenset((name, _freeze(held)) for name, held in value.items())
    if isinstance(value, list):
        return "array", tuple(map(_freeze, value))
    return isinstance(value, bool), value


def _search_in_time(pattern: str, text: str) -> bool:
    if time.thread_time() > _ends.get():
        raise TimeoutError
    return search(pattern, text)
