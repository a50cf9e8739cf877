"""How an answer is drawn: the settings of a chat, each defined once. Loads nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelforge.errors import RecipeError

Message = dict[str, str]
STOP, LENGTH = "stop", "length"


class Sampling(BaseModel):
    """How an answer is drawn. temperature 0 always takes the likeliest token. seed None: a new seed each time."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_new_tokens: int = Field(256, ge=1, le=8192, description="Longest answer, in tokens.")
    temperature: float = Field(0.0, ge=0, le=2, description="0 is always the likeliest word, 1 is lively.")
    top_p: float = Field(
        0.95, gt=0, le=1, description="Only the likeliest words that make up this share are drawn from."
    )
    min_p: float = Field(0.0, ge=0, le=1, description="Words below this share of the likeliest one are left out.")
    top_k: int = Field(0, ge=0, le=1000, description="Only so many of the likeliest words are drawn from; 0 is all.")
    repetition_penalty: float = Field(
        1.0, ge=0.5, le=2, description="Above 1 makes words that occurred before less likely."
    )
    engine: Literal["auto", "transformers"] = Field(
        "auto", description="llama.cpp is faster; its words may differ in rounding. transformers is exact."
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


PRESETS: dict[str, dict[str, float]] = {
    "exact": {"temperature": 0.0, "top_p": 0.95, "min_p": 0.0, "top_k": 0, "repetition_penalty": 1.0},
    "balanced": {"temperature": 0.7, "top_p": 0.95, "min_p": 0.05, "top_k": 0, "repetition_penalty": 1.05},
    "lively": {"temperature": 1.1, "top_p": 1.0, "min_p": 0.1, "top_k": 0, "repetition_penalty": 1.05},
}
"""Name -> settings. exact: the same answer each time, as in evaluations. lively: min_p instead of top_p, which keeps a
high temperature coherent (arXiv 2407.01082)."""


@dataclass
class Writing:
    """What is known of an answer while it is written; whoever writes it fills this in.

    tokens: written so far. prompt_tokens: of the whole prompt; cut_tokens: of those, left out because `window` are read
    at once, at its end if `cut_end`, else at its beginning. is_plain: the model has no chat template, so it continues
    the text. ending: STOP where the model ended the answer, LENGTH where it was as long as it may be, "" before.
    engine: who answers; reason: why it is not llama.cpp.
    """

    tokens: int = 0
    prompt_tokens: int = 0
    cut_tokens: int = 0
    window: int = 0
    cut_end: bool = False
    is_plain: bool = False
    ending: str = ""
    engine: str = ""
    reason: str = ""

    @property
    def by(self) -> str:
        """A sentence that says which engine answers."""
        reason = f": {self.reason.rstrip('.')}" if self.reason else ""
        return f"Answered by {self.engine}{reason}." if self.engine else ""

    @property
    def notes(self) -> list[str]:
        """Sentences for whoever reads the answer."""
        found = []
        if self.is_plain:
            found.append("This model has no chat template: it continues the text, and may not answer.")
        if self.cut_tokens:
            answer, place = ("", "last") if self.cut_end else (", answer included", "first")
            found.append(
                f"The prompt has {self.prompt_tokens:,} tokens and the model reads {self.window:,} at once{answer}: "
                f"the {place} {self.cut_tokens:,} were left out."
            )
        return found
