"""How an answer is drawn: the settings of a chat, each defined once. Loads nothing heavy."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelforge.errors import RecipeError

Message = dict[str, str]


class Sampling(BaseModel):
    """How an answer is drawn. temperature 0 always takes the likeliest token. seed None: a new seed each time."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_new_tokens: int = Field(256, ge=1, le=8192, description="Longest answer, in tokens.")
    temperature: float = Field(0.0, ge=0, le=2, description="0 is always the likeliest word, 1 is lively.")
    top_p: float = Field(
        0.95, gt=0, le=1, description="Only the likeliest words that make up this share are drawn from."
    )
    seed: int | None = Field(None, ge=0, le=2**31 - 1, description="Same seed, same answer.")

    @classmethod
    def build(cls, **settings: Any) -> Self:
        """Raises RecipeError naming the setting and its bound."""
        try:
            return cls(**settings)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = ".".join(map(str, first["loc"]))
            raise RecipeError(f"{first['input']!r} cannot be used.", where=name, fix=f"{first['msg']}.") from error
