"""The rewards of GRPO, as settings. How they are computed is in `scores/rewards.py`.

Each scores an answer from 0 to 1, times its weight.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from modelforge.recipe.settings import Settings
from modelforge.recipe.user_patterns import check_pattern, check_schema

Weight = Annotated[float, Field(ge=-100, le=100, description="How much it counts; below 0 it is a penalty.")]
Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
# White space is significant in a pattern.
Pattern = Annotated[str, StringConstraints(strip_whitespace=False, min_length=1, max_length=10_000)]


class ValidJson(Settings):
    """1 for an answer that is valid JSON and nothing else (and matches the schema, if there is one), else 0."""

    type: Literal["valid_json"] = "valid_json"
    weight: Weight = 1.0
    json_schema: dict[str, Any] = Field(
        {},
        description="A JSON Schema that the answer must match. If empty, any JSON is valid, also a bare number.",
    )

    @field_validator("json_schema")
    @classmethod
    def _check_schema(cls, value: dict[str, Any]) -> dict[str, Any]:
        check_schema(value)
        return value


class Length(Settings):
    """1 for an answer with a length in the range, less the farther it is outside; 0 if it is empty or twice as long."""

    type: Literal["length"] = "length"
    weight: Weight = 1.0
    unit: Literal["words", "characters"] = Field("words", description="What is counted.")
    least: int = Field(1, ge=0, le=1_000_000, description="The shortest answer with the full reward.")
    most: int = Field(100, ge=1, le=1_000_000, description="The longest answer with the full reward.")

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"least ({self.least}) is more than most ({self.most})")
        return self


class Contains(Settings):
    """The share of the words (or phrases) that the answer contains as whole words, ignoring case."""

    type: Literal["contains"] = "contains"
    weight: Weight = 1.0
    words: tuple[Phrase, ...] = Field(
        min_length=1, max_length=1000, description="Words or phrases that the answer should contain."
    )


class Avoids(Settings):
    """1 for an answer with none of the words (or phrases), less for each one, 0 for all of them."""

    type: Literal["avoids"] = "avoids"
    weight: Weight = 1.0
    words: tuple[Phrase, ...] = Field(
        min_length=1, max_length=1000, description="Words or phrases that the answer should not contain."
    )


class MatchesPattern(Settings):
    """1 for an answer that contains a match of the regular expression (is a match, with `whole`), else 0."""

    type: Literal["matches_pattern"] = "matches_pattern"
    weight: Weight = 1.0
    pattern: Pattern = Field(description="A regular expression in Python's syntax; start it with (?i) to ignore case.")
    whole: bool = Field(False, description="Whether the whole answer must match, from start to end.")

    @field_validator("pattern")
    @classmethod
    def _check_pattern(cls, value: str) -> str:
        check_pattern(value)
        return value


class MatchesReference(Settings):
    """How well the answer matches the row's reference; every row must have one."""

    type: Literal["matches_reference"] = "matches_reference"
    weight: Weight = 1.0
    by: Literal["f1", "exact_match", "contains"] = Field(
        "f1",
        description="f1: the share of words in common; exact_match: 1 if they differ only in case, punctuation "
        "and articles, else 0; contains: 1 if the answer contains the reference, else 0.",
    )


Reward = Annotated[
    ValidJson | Length | Contains | Avoids | MatchesPattern | MatchesReference, Field(discriminator="type")
]
Rewards = tuple[Reward, ...]
