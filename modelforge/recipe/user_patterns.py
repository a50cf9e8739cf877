"""Which regular expressions and JSON Schemas a user may give: those that can judge an answer, in bounded time.

How they are applied is in `scores/user_patterns.py`.
"""

from __future__ import annotations

import re
from math import prod
from typing import Any

MOST_STEPS = 100_000
"""Steps of a pattern with its repeats written out, as they are compiled: a million take 400 MB and several seconds."""

# A repeat of what may be a group (also a repeat, or blanks, which can mean nothing), or of one character.
_REPEAT = re.compile(r"([)}\s])?\{(\d+)")
_ENDLESS = {"unevaluatedProperties", "unevaluatedItems"}


def check_pattern(pattern: str) -> None:
    """Raises ValueError for what is not a regular expression of the module `regex`, or one that is too large."""
    import regex  # type: ignore[import-untyped]

    counts = [(group, int(count) if len(count) < 10 else MOST_STEPS) for group, count in _REPEAT.findall(pattern)]
    inside = len(pattern) + sum(count for group, count in counts if not group)
    if inside * prod(max(count, 1) for group, count in counts if group) > MOST_STEPS:
        raise ValueError(
            f"the repeats of this pattern add up to more than {MOST_STEPS:,} steps; lower the numbers in its braces"
        )
    try:
        regex.compile(pattern)
    except (regex.error, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ValueError(f"this is not a regular expression: {reason}") from error


def check_schema(schema: dict[str, Any]) -> None:
    """Raises ValueError for what is not a JSON Schema, refers to something outside of it or to what is no schema, or
    has a pattern that `check_pattern` refuses or a keyword whose time has no bound."""
    from jsonschema import Draft202012Validator, validators  # type: ignore[import-untyped]
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
    from referencing.jsonschema import DRAFT202012, specification_with

    named = schema.get("$schema", "")
    if not isinstance(named, str):
        raise ValueError("this is not a JSON Schema: its $schema is not a URL")
    dialect = validators.validator_for(schema, default=Draft202012Validator)
    _check_form(dialect, schema)
    specification = specification_with(named, default=DRAFT202012)
    root = specification.create_resource(schema)
    waiting: list[tuple[Any, Any]] = [(root, REGISTRY.resolver_with_root(root))]
    seen: set[int] = set()
    while waiting:
        part, resolver = waiting.pop()
        if not isinstance(part.contents, dict) or id(part.contents) in seen:  # true or false, or checked
            continue
        seen.add(id(part.contents))
        _check_keywords(part.contents)
        for keyword in {"$ref", "$dynamicRef"} & part.contents.keys():
            found = _find_target(keyword, part.contents[keyword], resolver)
            if id(found.contents) not in seen:
                _check_form(dialect, found.contents)  # it may stand where no schema is looked for
                waiting.append((specification.create_resource(found.contents), found.resolver))
        waiting += [(each, resolver.in_subresource(each)) for each in part.subresources()]


def _check_form(dialect: Any, schema: Any) -> None:
    from jsonschema import SchemaError

    try:
        dialect.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"this is not a JSON Schema: {error.message} (at {error.json_path})") from error
    except (RecursionError, OverflowError) as error:
        raise ValueError("this schema, or a pattern in it, is nested too deeply or has a number too large") from error


def _find_target(keyword: str, target: str, resolver: Any) -> Any:
    from referencing.exceptions import Unresolvable

    try:
        return resolver.lookup(target)
    except (Unresolvable, TypeError, ValueError) as error:  # the latter for what leads through a text or a number
        raise ValueError(f"{keyword} {target!r} points to nothing in this schema (nothing is downloaded)") from error


def _check_keywords(schema: dict[str, Any]) -> None:
    for keyword in _ENDLESS & schema.keys():
        raise ValueError(f"{keyword} is not supported, since checking it can take forever; list what is allowed")
    for pattern in (*filter(None, [schema.get("pattern")]), *schema.get("patternProperties", ())):
        check_pattern(pattern)
