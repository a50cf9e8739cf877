"""The shapes of OpenAI's answers: whole, in chunks, the list of models, and errors."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from modelforge.models.sampling import Writing

KINDS = {"chat": ("chatcmpl", "chat.completion"), "text": ("cmpl", "text_completion")}


@dataclass
class Reply:
    """One answer in the form of /v1/chat/completions (chat) or /v1/completions (text)."""

    kind: str
    model: str
    writing: Writing
    id: str = field(init=False)
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.id = f"{KINDS[self.kind][0]}-{secrets.token_hex(12)}"

    def whole(self, text: str, ending: str) -> dict[str, Any]:
        said = {"message": {"role": "assistant", "content": text}} if self.kind == "chat" else {"text": text}
        return {**self._head(""), "choices": [self._choice(said, ending)], "usage": self.usage()}

    def chunk(self, text: str, ending: str | None = None, *, first: bool = False) -> dict[str, Any]:
        if self.kind == "text":
            return {**self._head(""), "choices": [self._choice({"text": text}, ending)]}
        delta = {"role": "assistant"} if first else {}
        delta |= {"content": text} if ending is None else {}
        return {**self._head(".chunk"), "choices": [self._choice({"delta": delta}, ending)]}

    def last(self) -> dict[str, Any]:
        """The chunk with the numbers of tokens."""
        return {**self._head(".chunk" if self.kind == "chat" else ""), "choices": [], "usage": self.usage()}

    def usage(self) -> dict[str, int]:
        prompt, tokens = self.writing.prompt_tokens, self.writing.tokens
        return {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}

    def _head(self, suffix: str) -> dict[str, Any]:
        kind = KINDS[self.kind][1] + suffix
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _choice(self, said: dict[str, Any], ending: str | None) -> dict[str, Any]:
        return {"index": 0, **said, "logprobs": None, "finish_reason": ending}


def list_models(names: Sequence[str], created: int) -> dict[str, Any]:
    return {"object": "list", "data": [describe_model(name, created) for name in names]}


def describe_model(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "modelforge"}


def describe_error(
    message: str, *, type: str = "invalid_request_error", param: str = "", code: str = ""
) -> dict[str, Any]:
    return {"error": {"message": message, "type": type, "param": param or None, "code": code or None}}


def event(shape: dict[str, Any]) -> bytes:
    """As a server-sent event."""
    return b"data: " + json.dumps(shape, ensure_ascii=False).encode() + b"\n\n"


END = b"data: [DONE]\n\n"
