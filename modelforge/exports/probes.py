"""What an export is checked with: held-out rows as the model sees them, with the tokens that are forced on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelforge.architecture import DECODER, ENCODER
from modelforge.data.encode import IGNORED, ChatEncoder, PairEncoder
from modelforge.errors import DatasetError
from modelforge.exports.source import Source
from modelforge.loading import window_of
from modelforge.models.evaluate import choose_evenly, read_held_out
from modelforge.models.spans import window_encoder
from modelforge.tasks import read_exchange
from modelforge.tasks.base import MappedRow
from modelforge.tasks.summarization import read_pair

MOST = 20  # prompts
FORCED_TOKENS = 48  # of each answer, at most
PROMPT_TOKENS = 1024  # of each prompt, at most: its end
_UNCUT = 10**9
_GENERAL = (
    "What is the capital of France?", "Write one sentence about the sea.", "How many days does a week have?",
    "Translate to German: good morning.", "Name three colours.", "What is two plus two?", "Who are you?",
    "Give me a tip for a good night's sleep.",
)  # fmt: skip


@dataclass(frozen=True)
class Probe:
    """One prompt. inputs: what the model takes, lists of token ids. forced: token ids of the answer; empty where the
    model's own is taken. messages, tools: of a chat, to be rendered; text: of a prompt without one."""

    text: str
    inputs: Mapping[str, list[int]]
    forced: list[int] = field(default_factory=list)
    messages: Sequence[Mapping[str, Any]] = ()
    tools: Sequence[Any] = ()

    @property
    def ids(self) -> list[int]:
        return self.inputs["input_ids"]


def make_probes(source: Source, notes: list[str]) -> list[Probe]:
    """At most `MOST`, evenly spaced over the held-out rows; general prompts where there are none. notes: gets a
    sentence about that. Raises DatasetError where there is nothing to check an encoder with."""
    loaded = source.loaded
    try:
        rows = [row for _, row in choose_evenly(read_held_out(loaded.manifest, loaded.recipe), MOST)]
    except DatasetError as error:
        if source.record.architecture == ENCODER.name:
            raise
        notes.append(f"{error.what} General prompts were used instead.")
        rows = [{"prompt": [{"role": "user", "content": text}]} for text in _GENERAL]
        if source.record.architecture != DECODER.name:
            rows = [{"document": text, "summary": ""} for text in _GENERAL]
    return [probe for row in rows if (probe := _MAKERS[source.record.architecture](source, row))]


def _make_chat(source: Source, row: MappedRow) -> Probe | None:
    encoder = ChatEncoder(source.loaded.tokenizer, _UNCUT)
    exchange = read_exchange(row) if "prompt" not in row or "chosen" in row or row.get("reference") else None
    try:
        encoded = encoder.encode_row(row)
        asked = list(exchange.asked if exchange else row.get("prompt", ()))
        tools = list((exchange.tools if exchange else row.get("tools")) or ())
        prompt = encoder.encode_row({"prompt": asked, "tools": tools}).input_ids if asked else []
    except DatasetError:  # the template refuses the row: it was not trained on either
        return None
    window = window_of(source.loaded.tuned.config)
    longest = min(PROMPT_TOKENS, window - FORCED_TOKENS)
    if asked:
        is_answered = encoded.input_ids[: len(prompt)] == prompt
        forced = [each for each in encoded.labels[len(prompt) :] if each != IGNORED] if is_answered else []
        text = str(asked[-1].get("content") or "")
        return Probe(text, {"input_ids": prompt[-longest:]}, forced[:FORCED_TOKENS], asked, tools)
    ids = encoded.input_ids[: longest + FORCED_TOKENS]
    begin = max(len(encoder.text_begin), 1)
    return Probe(str(row.get("text", ""))[:200], {"input_ids": ids[:begin]}, ids[begin : begin + FORCED_TOKENS])


def _make_document(source: Source, row: MappedRow) -> Probe:
    recipe, (document, summary) = source.loaded.recipe, read_pair(row)
    pair = PairEncoder(source.loaded.tokenizer, recipe.max_length, recipe.max_target_length).encode(document, summary)
    return Probe(document[:200], {"input_ids": pair.input_ids}, pair.labels[:FORCED_TOKENS] if summary else [])


def _make_question(source: Source, row: MappedRow) -> Probe:
    encoder = window_encoder(source.loaded.tokenizer, source.loaded.recipe, source.loaded.tuned.config)
    windows, _ = encoder.encode_row(row)
    window = next((each for each in windows if each.end), windows[0])
    return Probe(row["question"], window.inputs, [window.start, window.end])


_MAKERS = {"decoder": _make_chat, "encoder-decoder": _make_document, "encoder": _make_question}
