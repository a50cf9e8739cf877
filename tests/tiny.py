"""Makers of small real parts: models of two layers with random weights (a Llama, a T5, a BERT), their tokenizers, rows
of every shape, files, recipes.

Nothing here stands in for what is tested: the models load with from_pretrained and train with TRL.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from modelforge.recipe import Recipe
from modelforge.tasks import SHAPES

COLOURS = ("red", "blue", "green", "white", "black", "brown", "pink", "grey")
THINGS = ("lamp", "boat", "door", "bird")
PAIRS = tuple(
    (f"What colour is the {thing} of house {number}?", f"The {thing} is {colour}.")
    for number, colour in enumerate(COLOURS)
    for thing in THINGS
)
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|pad|>", "<|im_start|>", "<|im_end|>", "<|other|>"]


def messages(prompt: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def rows(count: int = 16) -> list[dict[str, Any]]:
    """Mapped rows, as a dataset holds them."""
    return [{"messages": messages(*pair)} for pair in PAIRS[:count]]


def user_rows(shape: str, count: int = 16) -> list[dict[str, Any]]:
    """Rows of a shape (a key of `modelforge.tasks.SHAPES`) as a user brings them, columns named as roles.

    Every fourth question on a text (shape span) is one that the text does not answer.
    """
    return [_USER_ROWS[shape](number, *pair) for number, pair in enumerate(PAIRS[:count])]


def mapped_rows(shape: str, count: int = 16) -> list[dict[str, Any]]:
    """The same rows as a dataset holds them."""
    found = [SHAPES[shape].map_row(row, frozenset()) for row in user_rows(shape, count)]
    assert not any(fault.severity != "hint" for _, faults in found for fault in faults)
    return [row for row, _ in found if row is not None]


def _make_question(number: int, prompt: str, answer: str) -> dict[str, Any]:
    context = f"News of house {number // len(THINGS)}. {answer} That is all."
    if number % 4 == 3:
        return {"context": context, "question": "Who lives there?", "answers": {"text": [], "answer_start": []}}
    colour = answer.rsplit(maxsplit=1)[-1].rstrip(".")
    return {
        "context": context,
        "question": prompt,
        "answers": {"text": [colour], "answer_start": [context.index(colour)]},
    }


_USER_ROWS: dict[str, Callable[[int, str, str], dict[str, Any]]] = {
    "chat": lambda _, prompt, answer: {"prompt": prompt, "response": answer},
    "text": lambda _, prompt, answer: {"text": f"{prompt} {answer}"},
    "summary": lambda _, prompt, answer: {"document": f"{prompt} {answer} That is what they say.", "summary": answer},
    "span": _make_question,
    "preference": lambda _, prompt, answer: {"prompt": prompt, "chosen": answer, "rejected": "I do not know."},
    "labelled": lambda number, prompt, answer: {
        "prompt": prompt,
        "completion": answer if number % 2 == 0 else " ".join(reversed(answer.split())),
        "label": number % 2 == 0,
    },
    "good_answers": lambda _, prompt, answer: {"prompt": prompt, "completion": answer, "label": True},
    "prompts": lambda _, prompt, answer: {"prompt": prompt, "reference": answer},
}


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """A file of such rows."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_rows(path: Path, pairs: Sequence[tuple[str, str]] = PAIRS[:16]) -> Path:
    """A JSONL file as a user brings it."""
    return write_jsonl(path, [{"prompt": prompt, "response": answer} for prompt, answer in pairs])


@cache
def _trained_bpe() -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator([" ".join(pair) for pair in PAIRS], trainer)
    return str(bpe.to_str())


def tokenizer(pad_token: str | None = SPECIAL[0]) -> Any:
    """Byte-level BPE with a chat template; the end of a turn is the end of the text."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained_bpe()), eos_token="<|im_end|>", pad_token=pad_token
    )
    made.chat_template = TEMPLATE
    return made


def config(**changes: Any) -> Any:
    from transformers import LlamaConfig

    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer()),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "initializer_range": 0.2,  # random weights that say something, so that answers differ
        "eos_token_id": 2,
        "pad_token_id": 0,
        "bos_token_id": None,
    }
    return LlamaConfig(**(sizes | changes))


def model(**changes: Any) -> Any:
    """A decoder with random weights, the same ones at every call."""
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(config(**changes))


def write_base(folder: Path, *, chosen_tokenizer: Any = None, **changes: Any) -> Path:
    """A base model's folder, such as somebody has on disk."""
    model(**changes).save_pretrained(folder)
    (chosen_tokenizer or tokenizer()).save_pretrained(folder)
    return folder


def write_known_base(folder: Path, starters: Path, **changes: Any) -> Path:
    """The same with the starter's tokenizer, which llama.cpp knows. starters: the folder of the starter models."""
    from transformers import AutoTokenizer

    known = AutoTokenizer.from_pretrained(starters / "SmolLM2-135M-Instruct")
    ids = {"eos_token_id": known.eos_token_id, "pad_token_id": known.pad_token_id, "bos_token_id": known.bos_token_id}
    return write_base(folder, chosen_tokenizer=known, **ids, **({"vocab_size": len(known)} | changes))


def shrink(folder: Path) -> None:
    """Give a decoder's folder, which lacks its weights, random ones of two narrow layers."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64, "head_dim": 16}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, **sizes, **heads)).save_pretrained(folder)


def text_to_text_tokenizer() -> Any:
    """The same pieces without a chat; as T5's it ends each text with the end-of-text token."""
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer.from_str(_trained_bpe())
    raw.post_processor = TemplateProcessing(single="$A <|im_end|>", special_tokens=[("<|im_end|>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token=SPECIAL[0])


def text_to_text_model(**changes: Any) -> Any:
    """A T5 with random weights, the same ones at every call."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer()),
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 4,
        "decoder_start_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": 2,
    }
    torch.manual_seed(0)
    return T5ForConditionalGeneration(T5Config(**(sizes | changes)))


def write_text_to_text(folder: Path, **changes: Any) -> Path:
    """A base model's folder with an encoder-decoder."""
    text_to_text_model(**changes).save_pretrained(folder)
    text_to_text_tokenizer().save_pretrained(folder)
    return folder


def encoder_tokenizer() -> Any:
    """The same pieces as BERT's tokenizer frames them: [CLS] A [SEP] B [SEP], with token types."""
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer.from_str(_trained_bpe())
    raw.post_processor = TemplateProcessing(
        single="<|other|> $A <|im_end|>",
        pair="<|other|> $A <|im_end|> $B:1 <|im_end|>:1",
        special_tokens=[("<|other|>", 3), ("<|im_end|>", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token=SPECIAL[0],
        cls_token="<|other|>",
        sep_token="<|im_end|>",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def encoder_config(**changes: Any) -> Any:
    from transformers import BertConfig

    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer()),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
    }
    return BertConfig(**(sizes | changes))


def span_model(**changes: Any) -> Any:
    """A BERT with a span head, all weights random and the same ones at every call."""
    import torch
    from transformers import BertForQuestionAnswering

    torch.manual_seed(0)
    return BertForQuestionAnswering(encoder_config(**({"initializer_range": 0.2} | changes)))


def write_encoder(folder: Path, **changes: Any) -> Path:
    """A base model's folder with an encoder that has no head, as sentence-transformers publishes them."""
    import torch
    from transformers import BertModel

    torch.manual_seed(0)
    BertModel(encoder_config(**changes)).save_pretrained(folder)
    encoder_tokenizer().save_pretrained(folder)
    return folder


WRITERS: dict[str, Callable[[Path], Path]] = {
    "decoder": write_base,
    "encoder-decoder": write_text_to_text,
    "encoder": write_encoder,
}
"""The maker of a base model's folder, by architecture."""


def recipe(base: Path | str, dataset: Path | str, settings: Mapping[str, Any] | None = None, **more: Any) -> Recipe:
    """One quick step on a processor in float32, unless told otherwise; ``{"tuning.r": 4}`` reaches inside."""
    quick = {"base_model": str(base), "dataset": str(dataset), "max_steps": 1, "max_length": 128, "dtype": "float32"}
    return Recipe().with_settings({**quick, "per_device_train_batch_size": 2, **(settings or {}), **more})


def finish_model(
    forge: Any,
    base: Path,
    *,
    name: str = "Colours",
    dataset_id: str = "dataset-000000000000",
    chosen_tokenizer: Any = None,
) -> Any:
    """A finished model in the forge's library whose adapter is random, so that it answers otherwise than its base."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer

    from modelforge import base_model, loading
    from modelforge.models.folder import package_versions, save_model
    from modelforge.runs.worker import model_record
    from modelforge.store import utc_now

    torch.manual_seed(1)
    weights = loading.load_model(base_model.resolve(str(base)), dtype="float32", device="cpu")
    settings = LoraConfig(r=4, lora_alpha=32, target_modules="all-linear", init_lora_weights=False)
    manifest = {
        "name": name,
        "base_model": str(base),
        "base_source": f"folder {base}",
        "custom_base_model": True,
        "task": "text-generation",
        "method": "sft",
        "tuning": "lora",
        "created": utc_now(),
        "run_id": None,
        "dataset": {"id": dataset_id, "name": "colours", "rows": 16, "sha256": "0" * 64},
        "recipe": Recipe().model_dump(mode="json"),
        "metrics": {"base": {"loss": 6.0, "perplexity": 403.4}, "tuned": {"loss": 1.0, "perplexity": 2.7}},
        "versions": package_versions(),
    }
    with forge.store.transaction():  # begun before there is a folder that a registry could be rebuilt from
        own = chosen_tokenizer or AutoTokenizer.from_pretrained(base)
        model_id = save_model(get_peft_model(weights, settings), own, manifest)
        return forge.store.models.add(model_record(model_id))
