"""The three architectures of language models, and how to recognise a model's architecture from its config.

Tasks and methods declare by name which of these they support.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Architecture:
    """One architecture. auto_class: of transformers, with the head that is trained. task_type: PEFT's name for it.
    example: a base model of this architecture."""

    name: str
    sentence: str
    auto_class: str
    task_type: str
    example: str


DECODER = Architecture(
    name="decoder",
    sentence="writes text from left to right",
    auto_class="AutoModelForCausalLM",
    task_type="CAUSAL_LM",
    example="HuggingFaceTB/SmolLM2-135M-Instruct",
)
ENCODER_DECODER = Architecture(
    name="encoder-decoder",
    sentence="reads with an encoder before it writes",
    auto_class="AutoModelForSeq2SeqLM",
    task_type="SEQ_2_SEQ_LM",
    example="google/flan-t5-small",
)
ENCODER = Architecture(
    name="encoder",
    sentence="reads a whole text and does not write any",
    auto_class="AutoModelForQuestionAnswering",
    task_type="QUESTION_ANS",
    example="sentence-transformers/all-MiniLM-L6-v2",
)
ARCHITECTURES: dict[str, Architecture] = {each.name: each for each in (DECODER, ENCODER_DECODER, ENCODER)}

_TEXT_PARTS = ("qwen3_5",)
"""Model types for text and images whose text part transformers loads alone, as a decoder; each was tested."""


def recognise(config: Mapping[str, Any]) -> tuple[Architecture | None, str]:
    """(the architecture that a config.json describes, the reason why it is that one or none).

    Decided by the classes that the config names, and for encoders by whether transformers has a span head for them. The
    reason follows on "which": "... is a BertForMaskedLM, which reads a whole text and does not write any".
    """
    from transformers.models.auto import modeling_auto as auto

    if against := _find_foreign(config):
        return None, against
    writing = auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES  # transformers' own tables of model type -> class
    text_to_text = auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    spans = auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES
    masked = auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    classes, kind = _classes(config), config.get("model_type")
    if not kind:
        tables = (writing, text_to_text, spans, masked, auto.MODEL_MAPPING_NAMES)
        kind = next((kind for table in tables for kind, name in table.items() if name in classes), None)
    if config.get("is_encoder_decoder") is True:
        is_text = kind is None or kind in text_to_text
        return _kind_or(ENCODER_DECODER, is_text, "is not a text-to-text model that transformers supports")
    writes = any("CausalLM" in name or "LMHead" in name for name in classes) and (kind is None or kind in writing)
    if writes or kind in _TEXT_PARTS:
        return DECODER, DECODER.sentence
    if kind in writing and kind not in masked:
        headless = bool(classes) and all(name.endswith("Model") for name in classes)
        return None, "does not have a head that writes text" if headless else "was not made for writing text"
    if kind in masked:  # encoders of text; those of pages and images have span heads too
        return _kind_or(ENCODER, kind in spans, "has no question answering head in transformers")
    return None, "neither writes text nor finds answers in a text"


def describe_class(config: Mapping[str, Any]) -> str:
    """The class that a config names, or else its model type, for a sentence."""
    return ", ".join(_classes(config)) or str(config.get("model_type") or "model of an unknown type")


def add_article(noun: str) -> str:
    """ "decoder" -> "a decoder", "encoder" -> "an encoder"."""
    return f"{'an' if noun[0].lower() in 'aeio' else 'a'} {noun}"  # not u: a UMT5Model


def _kind_or(found: Architecture, is_one: bool, reason: str) -> tuple[Architecture | None, str]:
    return (found, found.sentence) if is_one else (None, reason)


def _find_foreign(config: Mapping[str, Any]) -> str:
    """Why a model cannot be used at all; "" if it can."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    kind = config.get("model_type")
    if kind and not (isinstance(kind, str) and kind in CONFIG_MAPPING_NAMES):
        return "has a type that transformers does not support, and code from a model's repository is never run"
    takes_more = any(isinstance(config.get(part), dict) for part in ("vision_config", "audio_config"))
    if takes_more and kind not in _TEXT_PARTS:
        return "also reads images or audio; only text models can be trained here"
    return ""


def _classes(config: Mapping[str, Any]) -> list[str]:
    listed = config.get("architectures")
    return [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
