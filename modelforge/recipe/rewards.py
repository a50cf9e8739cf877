"""What a training by reward can reward, as settings. How each is scored is in `training/rewards.py`.

Each gives an answer 0 to 1, times its weight.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from modelforge.recipe.settings import Settings

Weight = Annotated[float, Field(ge=-100, le=100, description="How much it counts; below 0 it is a punishment.")]
Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
# White space in a pattern means something.
Pattern = Annotated[str, StringConstraints(strip_whitespace=False, min_length=1, max_length=10_000)]


class ValidJson(Settings):
    """1 for an answer that is JSON and nothing else (and, where a schema is given, fits it), else 0."""

    type: Literal["valid_json"] = "valid_json"
    weight: Weight = 1.0
    json_schema: dict[str, Any] = Field(
        {},
        description="A JSON Schema that the answer must fit. Empty asks for none: then a bare number is an answer too.",
    )

    @field_validator("json_schema")
    @classmethod
    def _check_schema(cls, value: dict[str, Any]) -> dict[str, Any]:
        from jsonschema import (  # type: ignore[import-untyped]
            Draft202012Validator,
            SchemaError,
            validators,
        )

        if not isinstance(value.get("$schema", ""), str):
            raise ValueError("this is no JSON Schema: its $schema is not an address")
        try:
            validators.validator_for(value, default=Draft202012Validator).check_schema(value)
        except SchemaError as error:
            raise ValueError(f"this is no JSON Schema: {error.message} (at {error.json_path})") from error
        _check_references(value)
        return value


class Length(Settings):
    """1 for an answer whose length is in the range; less the farther it is outside, 0 for twice the most or nothing."""

    type: Literal["length"] = "length"
    weight: Weight = 1.0
    unit: Literal["words", "characters"] = Field("words", description="What is counted.")
    least: int = Field(1, ge=0, le=1_000_000, description="The shortest answer that earns all of it.")
    most: int = Field(100, ge=1, le=1_000_000, description="The longest answer that earns all of it.")

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"least ({self.least}) is more than most ({self.most})")
        return self


class Contains(Settings):
    """The share of the words (or phrases) that the answer contains as whole words, whatever their capitals."""

    type: Literal["contains"] = "contains"
    weight: Weight = 1.0
    words: tuple[Phrase, ...] = Field(min_length=1, max_length=1000, description="Words or phrases to be said.")


class Avoids(Settings):
    """1 for an answer that contains none of the words (or phrases), less for each that it does, 0 for all of them."""

    type: Literal["avoids"] = "avoids"
    weight: Weight = 1.0
    words: tuple[Phrase, ...] = Field(min_length=1, max_length=1000, description="Words or phrases not to be said.")


class MatchesPattern(Settings):
    """1 for an answer in which the regular expression is found (the whole of it, with `whole`), else 0."""

    type: Literal["matches_pattern"] = "matches_pattern"
    weight: Weight = 1.0
    pattern: Pattern = Field(description="A regular expression as Python has them; (?i) before it ignores capitals.")
    whole: bool = Field(False, description="Whether it must be the whole answer, from its start to its end.")

    @field_validator("pattern")
    @classmethod
    def _check_pattern(cls, value: str) -> str:
        import regex  # type: ignore[import-untyped]  # what the answers are searched with

        try:
            regex.compile(value)
        except regex.error as error:
            raise ValueError(f"this is no regular expression: {error}") from error
        return value


class MatchesReference(Settings):
    """How well the answer agrees with the row's reference; every row must have one."""

    type: Literal["matches_reference"] = "matches_reference"
    weight: Weight = 1.0
    by: Literal["f1", "exact_match", "contains"] = Field(
        "f1",
        description="f1: the share of words in common; exact_match: 1 if the same but for capitals, punctuation and "
        "articles, else 0; contains: 1 if the reference stands in the answer, else 0.",
    )


Reward = Annotated[
    ValidJson | Length | Contains | Avoids | MatchesPattern | MatchesReference, Field(discriminator="type")
]
Rewards = tuple[Reward, ...]


def _check_references(schema: dict[str, Any]) -> None:
    """Raises ValueError where a $ref of a schema leads out of it or to nothing: no answer could be judged by it."""
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
    from referencing import Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    root = Resource.from_contents(schema, default_specification=DRAFT202012)
    waiting = [(root, REGISTRY.resolver_with_root(root))]
    while waiting:
        part, resolver = waiting.pop()
        if not isinstance(part.contents, dict):  # true or false
            continue
        for keyword in ("$ref", "$dynamicRef"):
            target = part.contents.get(keyword)
            try:
                if target is not None:
                    resolver.lookup(target)
            except Unresolvable as error:
                raise ValueError(
                    f"{keyword} {target!r} leads to nothing in this schema (nothing is fetched)"
                ) from error
        waiting += [(each, resolver.in_subresource(each)) for each in part.subresources()]
