"""A GGUF file in llama.cpp, as other programs load it, to ask what it makes of a conversation and of each token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from modelforge.engines.llama import LlamaServer


class Llama(LlamaServer):
    """llama.cpp with one file, until the end of the block. context: tokens of a prompt and its answer. Raises
    EngineError where the file cannot be loaded."""

    def __init__(self, model: Path, context: int) -> None:
        super().__init__(model, None, context, with_template=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.stop()

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] = ()) -> list[int]:
        """Token ids of a conversation by the template in the file, up to where the answer begins."""
        more = {"tools": list(tools)} if tools else {}
        text = self.ask("/apply-template", messages=list(messages), **more)["prompt"]
        return list(self.ask("/tokenize", content=text, add_special=True, parse_special=True)["tokens"])

    def find_likeliest(self, ids: Sequence[int], count: int) -> dict[int, float]:
        """The likeliest tokens after these, with their log likelihoods, the likeliest first."""
        settings = {"n_predict": 1, "temperature": 0.0, "n_probs": count, "cache_prompt": True, "id_slot": 0}
        (found,) = self.ask("/completion", prompt=list(ids), **settings)["completion_probabilities"]
        return {each["id"]: each["logprob"] for each in found["top_logprobs"]}

    def write_text(self, ids: Sequence[int], tokens: int) -> str:
        """The likeliest answer after these token ids."""
        settings = {"n_predict": tokens, "temperature": 0.0, "cache_prompt": True, "id_slot": 0}
        return str(self.ask("/completion", prompt=list(ids), **settings)["content"])
