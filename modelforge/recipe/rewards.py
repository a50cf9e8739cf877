"""What a training by reward can reward, as settings. How each is scored is in `training/rewards.py`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from modelforge.recipe.settings import Settings

Weight = Annotated[float, Field(ge=-100, le=100, description="How much it counts; below 0 it is a punishment.")]


class ValidJson(Settings):
    """1 for an answer that is JSON (and, where a schema is given, fits it), else 0."""

    type: Literal["valid_json"] = "valid_json"
    weight: Weight = 1.0
    json_schema: dict[str, Any] = Field({}, description="A JSON Schema that the answer must fit; empty asks for none.")

    @field_validator("json_schema")
    @classmethod
    def _check_schema(cls, value: dict[str, Any]) -> dict[str, Any]:
        from jsonschema import SchemaError
        from jsonschema.validators import validator_for

        try:
            validator_for(value).check_schema(value)
        except SchemaError as error:
            raise ValueError(f"this is no JSON Schema: {error.message}") from error
        return value


class Length(Settings):
    """1 for an answer whose length is in the range; less the farther it is outside."""

    type: Literal["length"] = "length"
    weight: Weight = 1.0
    unit: Literal["words", "characters"] = "words"
    least: int = Field(1, ge=0, le=1_000_000)
    most: int = Field(100, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"least ({self.least}) is more than most ({self.most})")
        return self


class Contains(Settings):
    """The share of the words (or phrases) that the answer contains, whatever their capitals."""

    type: Literal["contains"] = "contains"
    weight: Weight = 1.0
    words: tuple[str, ...] = Field(min_length=1)


class Avoids(Settings):
    """1 for an answer that contains none of the words (or phrases), less for each that it does."""

    type: Literal["avoids"] = "avoids"
    weight: Weight = 1.0
    words: tuple[str, ...] = Field(min_length=1)


class MatchesPattern(Settings):
    """1 for an answer in which the regular expression is found (the whole of it, with `whole`), else 0."""

    type: Literal["matches_pattern"] = "matches_pattern"
    weight: Weight = 1.0
    pattern: str = Field(min_length=1)
    whole: bool = False

    @field_validator("pattern")
    @classmethod
    def _check_pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"this is no regular expression: {error}") from error
        return value


class MatchesReference(Settings):
    """How well the answer agrees with the row's reference: wholly, or by the share of words in common (F1)."""

    type: Literal["matches_reference"] = "matches_reference"
    weight: Weight = 1.0
    by: Literal["f1", "exact_match", "contains"] = "f1"


Reward = Annotated[
    ValidJson | Length | Contains | Avoids | MatchesPattern | MatchesReference, Field(discriminator="type")
]
Rewards = tuple[Reward, ...]
