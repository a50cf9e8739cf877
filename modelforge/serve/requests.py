"""What OpenAI's API may be sent, bounded: a conversation or a text, and how its answer is drawn.

What would change the answer and is not possible here is refused; what does not (`user`, `metadata`) is ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from modelforge.errors import RecipeError
from modelforge.models.sampling import Message, Sampling

LARGEST_BODY_BYTES = 1_000_000
MOST_MESSAGES = 1_000
MOST_STOPS, LONGEST_STOP = 16, 200
DEFAULT_TOKENS = 1_024
"""The longest answer where none is given."""
_ROLES = {"developer": "system"}  # OpenAI's newer name
# Settings of OpenAI's that change an answer -> the values that change nothing.
_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "tools": ([],),
    "functions": ([],),
    "logprobs": (False, 0),
    "echo": (False,),
    "suffix": ("",),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "response_format": ({"type": "text"},),
}
Stops = Annotated[list[Annotated[str, Field(min_length=1, max_length=LONGEST_STOP)]], Field(max_length=MOST_STOPS)]


class Drawn(BaseModel):
    """The fields that both requests have. base: ModelForge's own, as min_p, top_k and repetition_penalty are."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    model: str = Field(max_length=500)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = None
    top_p: float | None = None
    min_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: Stops = []
    stream: bool = False
    stream_options: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, values: Any) -> Any:
        for name, harmless in _UNSUPPORTED.items():
            given = values.get(name) if isinstance(values, dict) else None
            if given is not None and given not in harmless:
                raise ValueError(f"'{name}' is not supported here; leave it out")
        return values

    @field_validator("stop", mode="before")
    @classmethod
    def _list_stops(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value or []

    @property
    def sampling(self) -> Sampling:
        """Raises RecipeError naming the setting and its bound."""
        names = ("temperature", "top_p", "min_p", "top_k", "repetition_penalty", "seed")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return Sampling.build(max_new_tokens=self.longest or DEFAULT_TOKENS, **given)

    @property
    def longest(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with the numbers of tokens."""
        return bool((self.stream_options or {}).get("include_usage"))


class Part(BaseModel):
    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] = ""

    def as_message(self) -> Message:
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": _ROLES.get(self.role, self.role), "content": text}


class ChatRequest(Drawn):
    """Of /v1/chat/completions."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=MOST_MESSAGES)

    @property
    def said(self) -> list[Message]:
        return [message.as_message() for message in self.messages]


class TextRequest(Drawn):
    """Of /v1/completions: a text that the model continues as it is, without a chat template."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]

    @property
    def said(self) -> str:
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]


def parse_request(kind: type[Drawn], body: bytes) -> Any:
    """A request of that kind. Raises RecipeError naming the field."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        sentence = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"{sentence[:1].upper()}{sentence[1:]}.", where=where) from error
