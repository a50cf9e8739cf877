"""The three kinds of language models by how they are built, and how to tell from a config which one a model is.

It knows nothing of files or the Hub; tasks and methods declare by name which of these they can be done with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Architecture:
    """One kind of model. auto_class: of transformers, with the head that it is trained with. task_type: PEFT's word for
    it. example: a base model of that kind."""

    name: str
    sentence: str
    auto_class: str
    task_type: str
    example: str


DECODER = Architecture(
    name="decoder",
    sentence="writes from left to right",
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
    sentence="reads a text as a whole and writes none",
    auto_class="AutoModelForQuestionAnswering",
    task_type="QUESTION_ANS",
    example="sentence-transformers/all-MiniLM-L6-v2",
)
ARCHITECTURES: dict[str, Architecture] = {each.name: each for each in (DECODER, ENCODER_DECODER, ENCODER)}

_CAUSAL = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"
_TEXT_TO_TEXT = "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES"
_SPANS = "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES"
_MASKED = "MODEL_FOR_MASKED_LM_MAPPING_NAMES"
_BODIES = "MODEL_MAPPING_NAMES"
"""Names of transformers' own tables of model type -> class, in `transformers.models.auto.modeling_auto`."""
_TEXT_PARTS = ("qwen3_5",)
"""Types of models of text and pictures of which transformers loads the part for text by itself, as a decoder; tried."""


def recognise(config: Mapping[str, Any]) -> tuple[Architecture | None, str]:
    """(the kind of model that a config.json describes, the reason why it is that one or none of them).

    Decided by the classes that the config names, and for encoders by whether transformers has a span head for them. The
    reason follows on "which": "... is a BertForMaskedLM, which reads a text as a whole and writes none".
    """
    if against := _find_foreign(config):
        return None, against
    classes, kind = _classes(config), _kind(config)
    if config.get("is_encoder_decoder") is True:
        is_text = kind is None or _has(_TEXT_TO_TEXT, kind)
        return _kind_or(ENCODER_DECODER, is_text, "is no text-to-text model that transformers knows")
    writes = any("CausalLM" in name or "LMHead" in name for name in classes) and (kind is None or _has(_CAUSAL, kind))
    if writes or kind in _TEXT_PARTS:
        return DECODER, DECODER.sentence
    if _has(_CAUSAL, kind) and not _has(_MASKED, kind):
        headless = bool(classes) and all(name.endswith("Model") for name in classes)
        return None, "has no head to write text with" if headless else "was made for something else than writing text"
    if _has(_MASKED, kind):  # tells encoders of text from those of pages and pictures, which have span heads too
        return _kind_or(ENCODER, _has(_SPANS, kind), "can be given no head that finds answers")
    return None, "neither writes text nor finds answers in one"


def describe_class(config: Mapping[str, Any]) -> str:
    """The class that a config names, or at least its kind, for a sentence."""
    return ", ".join(_classes(config)) or str(config.get("model_type") or "model of an unknown kind")


def add_article(noun: str) -> str:
    """ "decoder" -> "a decoder", "encoder" -> "an encoder"."""
    return f"{'an' if noun[0].lower() in 'aeio' else 'a'} {noun}"  # not u: a UMT5Model


def _kind_or(found: Architecture, is_one: bool, reason: str) -> tuple[Architecture | None, str]:
    return (found, found.sentence) if is_one else (None, reason)


def _find_foreign(config: Mapping[str, Any]) -> str:
    """What speaks against a model of any kind; "" for nothing."""
    if config.get("model_type") and not _is_type(config["model_type"]):
        return "is of a kind that transformers does not know, and code that comes with a model is never run"
    takes_more = any(isinstance(config.get(part), dict) for part in ("vision_config", "audio_config"))
    if takes_more and config.get("model_type") not in _TEXT_PARTS:
        return "also takes in pictures or sound; only models of text alone are trained here"
    return ""


def _classes(config: Mapping[str, Any]) -> list[str]:
    listed = config.get("architectures")
    return [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []


def _kind(config: Mapping[str, Any]) -> str | None:
    """The config's model type; where it names none, that of its class."""
    named = config.get("model_type")
    if named:
        return str(named)
    for table in (_CAUSAL, _TEXT_TO_TEXT, _SPANS, _MASKED, _BODIES):
        for kind, name in _table(table).items():
            if name in _classes(config):
                return kind
    return None


def _is_type(name: Any) -> bool:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return isinstance(name, str) and name in CONFIG_MAPPING_NAMES


def _has(table: str, kind: str | None) -> bool:
    return kind in _table(table)


def _table(name: str) -> Mapping[str, Any]:
    from transformers.models.auto import modeling_auto

    return getattr(modeling_auto, name)  # type: ignore[no-any-return]
