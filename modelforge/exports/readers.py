"""Who reads probes: a model of transformers, or a GGUF file in llama.cpp. Both answer in the same terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from modelforge.exports.llama import Llama
from modelforge.exports.probes import Probe

LIKELIEST = 100  # tokens of which likelihoods are compared
AT_ONCE = 8  # prompts whose answers are written side by side
WRITTEN_TOKENS = 24  # of an answer, to compare texts


@dataclass(frozen=True)
class Reading:
    """What a model makes of one probe. likely: for each forced token the likeliest tokens and their log likelihoods,
    the likeliest first. forced: those tokens. rendered: the token ids of the prompt by its own template."""

    likely: list[dict[int, float]]
    forced: list[int]
    rendered: list[int]
    text: str

    @property
    def losses(self) -> list[float]:
        """Of each forced token, in nats; of one that is not among the likeliest, that of the last of them."""
        return [-each.get(token, min(each.values())) for each, token in zip(self.likely, self.forced, strict=True)]


class Reader(Protocol):
    """engine: its name for people."""

    engine: str

    def read(self, probes: Sequence[Probe], forced: Sequence[Sequence[int]] = ()) -> Iterator[Reading]:
        """Of each probe, in order. forced: instead of the probes' own. Where a probe has none, the model's own answer
        is forced on it."""


class TransformersReader:
    """A model of transformers with its tokenizer. pulse: called for each token that is written."""

    def __init__(self, model: Any, tokenizer: Any, architecture: str, pulse: Callable[[], None] = lambda: None) -> None:
        self.engine = "transformers"
        self._model, self._tokenizer, self._pulse = model, tokenizer, pulse
        self._score = {"decoder": self._score_chat, "encoder-decoder": self._score_document}.get(
            architecture, self._score_span
        )

    def read(self, probes: Sequence[Probe], forced: Sequence[Sequence[int]] = ()) -> Iterator[Reading]:
        for place, (probe, text) in enumerate(zip(probes, self._write(probes), strict=True)):
            wanted = list(forced[place] if forced else probe.forced)
            wanted = wanted or self._tokenizer(text, add_special_tokens=False)["input_ids"]
            wanted = wanted or [self._tokenizer.eos_token_id]
            yield Reading(self._score(probe, wanted), wanted, self._render(probe), text)

    def _render(self, probe: Probe) -> list[int]:
        if not probe.messages:
            return probe.ids
        rendered = self._tokenizer.apply_chat_template(
            list(probe.messages), tools=list(probe.tools) or None, add_generation_prompt=True, return_dict=True
        )
        return list(rendered["input_ids"])

    def _write(self, probes: Sequence[Probe]) -> list[str]:
        """The likeliest answer to each."""
        if self._score == self._score_span:
            return [""] * len(probes)
        from modelforge.models.generate import write_answers, write_texts

        write = write_answers if self._score == self._score_chat else write_texts
        texts: list[str] = []
        for first in range(0, len(probes), AT_ONCE):
            prompts = [probe.ids for probe in probes[first : first + AT_ONCE]]
            texts += write(self._model, self._tokenizer, prompts, WRITTEN_TOKENS, self._turn)
        return texts

    @contextmanager
    def _turn(self) -> Iterator[None]:
        self._pulse()
        yield

    def _score_chat(self, probe: Probe, forced: Sequence[int]) -> list[dict[int, float]]:
        output = self._forward({"input_ids": [*probe.ids, *forced[:-1]]}, logits_to_keep=len(forced))
        return _list_likeliest(output.logits[0, -len(forced) :])

    def _score_document(self, probe: Probe, forced: Sequence[int]) -> list[dict[int, float]]:
        return _list_likeliest(self._forward({"input_ids": probe.ids, "labels": forced}).logits[0])

    def _score_span(self, probe: Probe, forced: Sequence[int]) -> list[dict[int, float]]:
        """The positions of the answer's start and end, as if they were tokens."""
        import torch

        output = self._forward(probe.inputs)
        return _list_likeliest(torch.cat((output.start_logits, output.end_logits)))

    def _forward(self, inputs: Mapping[str, Sequence[int]], **settings: int) -> Any:
        import torch

        self._pulse()
        with torch.inference_mode():
            given = {name: torch.tensor([list(ids)], device=self._model.device) for name, ids in inputs.items()}
            return self._model(**given, **settings)


class LlamaReader:
    """A GGUF file in llama.cpp. pulse: called for each token."""

    def __init__(self, llama: Llama, pulse: Callable[[], None] = lambda: None) -> None:
        self.engine = "llama.cpp"
        self._llama, self._pulse = llama, pulse

    def read(self, probes: Sequence[Probe], forced: Sequence[Sequence[int]] = ()) -> Iterator[Reading]:
        for probe, wanted in zip(probes, forced or [probe.forced for probe in probes], strict=True):
            rendered = self._llama.render(probe.messages, probe.tools) if probe.messages else probe.ids
            likely: list[dict[int, float]] = []
            for place in range(len(wanted)):
                self._pulse()
                likely.append(self._llama.find_likeliest([*probe.ids, *wanted[:place]], LIKELIEST))
            yield Reading(likely, list(wanted), rendered, self._llama.write_text(probe.ids, WRITTEN_TOKENS))


def _list_likeliest(logits: Any) -> list[dict[int, float]]:
    """logits (T, V) -> for each position the likeliest tokens."""
    found = logits.float().log_softmax(-1).topk(min(LIKELIEST, logits.shape[-1]))
    return [
        dict(zip(ids, values, strict=True))
        for ids, values in zip(found.indices.tolist(), found.values.tolist(), strict=True)
    ]
