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


def recognise(config: Mapping[str, Any]) -> tuple[Architecture | None, str]:
    """(the kind of model that a config.json describes, the reason why it is that one or none of them).

    Decided by the classes that the config names, and for encoders by whether transformers has a span head for them.
    """
    listed = config.get("architectures")
    classes = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    if config.get("is_encoder_decoder") is True:
        if _is_known(config, "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES"):
            return ENCODER_DECODER, ENCODER_DECODER.sentence
        return None, "is no text-to-text model that transformers knows"
    if any("CausalLM" in name or "LMHead" in name for name in classes):
        return DECODER, DECODER.sentence
    if _is_known(config, "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES") and not _is_known(
        config, "MODEL_FOR_MASKED_LM_MAPPING_NAMES"
    ):
        if classes and all(name.endswith("Model") for name in classes):
            return None, "has no head to write text with"
        return None, "was made for something else than writing text"
    if _is_known(config, "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES"):
        return ENCODER, ENCODER.sentence
    if _is_known(config, "MODEL_FOR_MASKED_LM_MAPPING_NAMES"):
        return None, "can be given no head that finds answers"
    return None, "neither writes text nor finds answers in one"


def describe_class(config: Mapping[str, Any]) -> str:
    """The class that a config names, or at least its kind, for a sentence."""
    listed = config.get("architectures")
    classes = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    return ", ".join(classes) or str(config.get("model_type") or "model of an unknown kind")


def add_article(noun: str) -> str:
    """ "decoder" -> "a decoder", "encoder" -> "an encoder"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _is_known(config: Mapping[str, Any], mapping: str) -> bool:
    """Whether transformers' table of that name has the config's model type."""
    from transformers.models.auto import modeling_auto

    kind = config.get("model_type")
    return isinstance(kind, str) and kind in getattr(modeling_auto, mapping)
