"""Loads the config, tokenizer and weights of a model; code that comes with it is never run."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modelforge.architecture import ENCODER, Architecture
from modelforge.base_model import BaseModel
from modelforge.base_model.config import CONFIG, read_config
from modelforge.base_model.contents import refuse_packed
from modelforge.building import BUILDING
from modelforge.compat.bitsandbytes import keep_differentiable
from modelforge.data.template_renderer import bound_templates
from modelforge.errors import BaseModelError, NotFoundError

_UNBOUNDED = 10**9
# These start positions after the padding token's id, so the first entries of their table are never used.
_PADDED_POSITIONS = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm", "data2vec-text")


def load_config(base: BaseModel) -> Any:
    """The model's transformers config, without what would fetch or run something. Raises BaseModelError."""
    values = read_config(base.folder, base.id)
    refuse_packed(values, base.id)
    config = make_config(values, base.id, str(base.folder))
    config.name_or_path = str(base.folder)
    return config


def make_config(values: Mapping[str, Any], name: str, where: str = "") -> Any:
    """The transformers config of values that `base_model.config` has let through."""
    from transformers import AutoConfig

    with tempfile.TemporaryDirectory() as place:  # AutoConfig takes files alone, and some files not as they are
        (Path(place) / CONFIG).write_text(json.dumps(values), encoding="utf-8")
        try:
            config = AutoConfig.from_pretrained(place, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # of wrong values anything may come
            raise BaseModelError(
                f"The architecture of {name} is not supported.",
                where=where,
                fix=_first_line(error).replace(place, name),
            ) from error
    config.name_or_path = ""
    return config


def load_tokenizer(folder: Path, name: str, architecture: Architecture | None = None) -> Any:
    """The fast tokenizer in that folder, with a padding token and, unless for an encoder, an end-of-sequence token."""
    from transformers import AutoTokenizer

    bound_templates()
    config = load_config(BaseModel(name, folder, "")) if (folder / CONFIG).exists() else None
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, config=config, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # a broken tokenizer.json raises a bare Exception
        raise BaseModelError(
            f"The tokenizer of {name} cannot be loaded.", where=str(folder), fix=_first_line(error)
        ) from error
    reads = architecture is ENCODER
    another = "Choose another base model."
    for is_wrong, what, fix in (
        (
            reads and not tokenizer.is_fast,
            "does not give the positions of its tokens in a text",
            "Choose a base model that has a tokenizer.json.",
        ),
        (reads and tokenizer.pad_token_id is None, "has no padding token", another),
        (not reads and tokenizer.eos_token_id is None, "has no end-of-sequence token", another),
    ):
        if is_wrong:
            raise BaseModelError(f"The tokenizer of {name} {what}.", where=str(folder), fix=fix)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked by position, never by this token's value
    return tokenizer


def load_model(
    base: BaseModel,
    *,
    dtype: str,
    device: str,
    architecture: Architecture | None = None,
    quantised: bool = False,
    attention: str = "sdpa",
    seed: int = 0,
) -> Any:
    """The model with the head for its task, on `device` in `dtype` (a torch dtype's name).

    architecture: by default read from its config. quantised: linear layers are stored in 4 bits (NF4, double
    quantisation: QLoRA, arXiv 2305.14314) and computed in `dtype`. seed: initialises a head that the files lack.
    """
    import torch
    import transformers

    from modelforge.base_model import architecture_of

    architecture = architecture or architecture_of(base)
    config = load_config(base)
    placed = {"quantization_config": _nf4(base, architecture, dtype), "device_map": {"": device}} if quantised else {}
    try:
        # Only a head draws random numbers: they are not those of a run in progress.
        with BUILDING, _quiet(), torch.random.fork_rng(devices=[], enabled=architecture is ENCODER):
            if architecture is ENCODER:
                torch.manual_seed(seed)
            model = getattr(transformers, architecture.auto_class).from_pretrained(
                base.folder,
                config=config,
                dtype=getattr(torch, dtype),
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                attn_implementation=attention,
                **placed,
            )
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:  # of wrong files anything may come
        raise BaseModelError(
            f"The weights of {base.id} cannot be loaded.", where=str(base.folder), fix=_first_line(error)
        ) from error
    return keep_differentiable(model) if quantised else model.to(device)


def load_adapter(model: Any, folder: Path, name: str, *, trainable: bool = False) -> Any:
    """The model with the adapter in that folder. name: of the adapter's model, for messages. Raises NotFoundError."""
    from peft import PeftModel
    from safetensors import SafetensorError

    try:
        with BUILDING:
            # On the meta device first: that draws no random numbers, which would change those of a run in progress.
            return join_dtypes(PeftModel.from_pretrained(model, folder, is_trainable=trainable, low_cpu_mem_usage=True))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise NotFoundError(
            f"The adapter of {name} cannot be loaded: {_first_line(error)}",
            where=str(folder),
            fix="Its files are damaged. Train it again.",
        ) from error


def head_modules(model: Any) -> list[str]:
    """Modules with weights outside of the model's body, such as qa_outputs of BertForQuestionAnswering."""
    parts = dict(model.named_children())
    if model.base_model_prefix not in parts:  # T5's body is not a module
        output = model.get_output_embeddings()
        return [name for name, part in parts.items() if part is output]
    return [
        name
        for name, part in parts.items()
        if name != model.base_model_prefix and next(part.parameters(), None) is not None
    ]


def window_of(config: Any) -> int:
    """How many tokens a model can read at once, by its config; a very large number if there is no limit."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    positions = getattr(text, "max_position_embeddings", None) or _UNBOUNDED
    if getattr(text, "model_type", "") in _PADDED_POSITIONS:
        positions -= (getattr(text, "pad_token_id", None) or 0) + 1
    return int(positions)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and load reports on the terminal."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def join_dtypes(model: Any) -> Any:
    """The same model, whose heads cast their inputs: a head trained beside an adapter is float32 whatever dtype the
    body computes in, and outside of autocast torch does not multiply two dtypes."""

    def cast(head: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
        wanted = next(head.parameters()).dtype
        return tuple(each.to(wanted) if each.is_floating_point() else each for each in given)

    for part in model.modules():
        if type(part).__name__ == "ModulesToSaveWrapper":
            for head in (part.original_module, *part.modules_to_save.values()):
                head.register_forward_pre_hook(cast)
    return model


def _nf4(base: BaseModel, architecture: Architecture, dtype: str) -> Any:
    import torch
    import transformers

    heads = None  # transformers' own choice: the output matrix
    if architecture is ENCODER:
        with torch.device("meta"):
            heads = head_modules(getattr(transformers, architecture.auto_class).from_config(load_config(base)))
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
        llm_int8_skip_modules=heads,
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
