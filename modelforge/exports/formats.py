"""The forms that a model can be exported in. To add one, add a line."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelforge.architecture import ARCHITECTURES, DECODER
from modelforge.errors import ExportError, RecipeError
from modelforge.gguf import QUANTIZATIONS, check_architecture, check_quantization, ensure_converter, to_gguf
from modelforge.models.folder import read_manifest
from modelforge.store import ModelRecord
from modelforge.store.folders import unfinished

if TYPE_CHECKING:
    from modelforge.exports.readers import Reader
    from modelforge.exports.source import Source

Watch = Callable[[float], None]
"""Called often with the share that is done; what it raises cancels."""
Pulse = Callable[[], None]
"""Called often; what it raises cancels."""
MODELFILE = "Modelfile"
_SHARD = "5GB"
_SMALL_BYTES = 30_000_000  # tokenizer, configs
_LORA_BYTES = 4 * 0.03  # of a weight of the base, at most about


@dataclass(frozen=True)
class Format:
    """One form. architectures: those that have it. tunings: likewise. size, room: bytes of the files, and of all that
    is written meanwhile, by the number of weights of the base and the bits of one. write: into an empty folder.
    open_back: what was written, loaded as others load it."""

    title: str
    sentence: str
    architectures: tuple[str, ...]
    tunings: tuple[str, ...]
    size: Callable[[int, float], float]
    room: Callable[[int, float], float]
    write: Callable[[Source, Path, str, Watch], None]
    open_back: Callable[[Source, Path, Pulse], AbstractContextManager[Reader]]
    is_quantized: bool = False


def check_format(record: ModelRecord, format: str, quantization: str) -> str:
    """The quantization to use, "" where the form has none. Raises RecipeError or ExportError for what does not go
    together."""
    chosen = FORMATS.get(format)
    if chosen is None:
        raise RecipeError(f"There is no format {format!r}.", fix=f"Choose one of {', '.join(FORMATS)}.")
    others = [name for name, each in FORMATS.items() if has_format(record, each)]
    instead = f"Choose {' or '.join(others)}."
    if record.architecture not in chosen.architectures:
        kind = ARCHITECTURES[record.architecture]
        raise ExportError(
            f"{chosen.title} is for models that chat; this one {kind.sentence}.", where=record.name, fix=instead
        )
    if record.tuning not in chosen.tunings:
        what = "Every weight of this model was trained, so it has no adapter."
        raise ExportError(what, where=record.name, fix=instead)
    if quantization and not chosen.is_quantized:
        raise RecipeError(f"{chosen.title} has no quantization.", fix="Leave it out, or choose gguf.")
    if not chosen.is_quantized:
        return ""
    quantization = (quantization or "f16").lower()
    check_quantization(quantization)
    return quantization


def has_format(record: ModelRecord, format: Format) -> bool:
    return record.architecture in format.architectures and record.tuning in format.tunings


def estimate_size(format: str, quantization: str, parameters: int, stored_bits: float) -> tuple[int, int]:
    """(bytes of the files, bytes needed meanwhile), about."""
    chosen = FORMATS[format]
    bits = QUANTIZATIONS[quantization].bits if quantization else stored_bits
    return tuple(int(each(parameters, bits)) + _SMALL_BYTES for each in (chosen.size, chosen.room))  # type: ignore[return-value]


def name_file(name: str) -> str:
    """A model's name as the beginning of a file's name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_")[:60].lower() or "model"


# ---- writing ----------------------------------------------------------------------------------------------------


def write_adapter(source: Source, folder: Path, _: str, watch: Watch) -> None:
    """The adapter as PEFT loads it, with its tokenizer; the base model under its name on the Hub."""
    from modelforge.models import hub_files

    own = hub_files.Source(source.folder, "adapter", read_manifest(source.record.id))
    for name, content in hub_files.read_contents(own, hub_files.make_card(own)).items():
        watch(0.5)
        if isinstance(content, Path):
            shutil.copyfile(content, folder / name)
        else:
            (folder / name).write_bytes(content)


def write_merged(source: Source, folder: Path, _: str, watch: Watch) -> None:
    """The adapter folded into the weights, in the number format of the base model's files."""
    import torch

    model = source.loaded.tuned
    watch(0.1)
    if hasattr(model, "peft_config"):
        model = model.merge_and_unload()
    watch(0.4)
    model = model.to(getattr(torch, source.dtype))
    model.config.name_or_path = ""
    watch(0.5)
    model.save_pretrained(folder, max_shard_size=_SHARD)
    source.loaded.tokenizer.save_pretrained(folder)
    watch(1.0)


def write_gguf(source: Source, folder: Path, quantization: str, watch: Watch) -> None:
    """A GGUF file of the merged model, and the Modelfile beside it."""
    from modelforge.exports.modelfile import write_modelfile

    check_architecture(source.base.folder, ensure_converter(lambda: watch(0.0)))  # before anything is written
    config, generation = source.loaded.tuned.config, getattr(source.loaded.tuned, "generation_config", None)
    file = f"{name_file(source.record.name)}-{quantization.upper()}.gguf"
    with unfinished(folder.parent) as merged:
        write_merged(source, merged, "", lambda share: watch(0.4 * share))
        source.free()
        to_gguf(
            merged, folder / file, quantization, name=source.record.name, watch=lambda share: watch(0.4 + 0.6 * share)
        )
    text = write_modelfile(file, source.loaded.tokenizer, config, generation)
    (folder / MODELFILE).write_text(text, encoding="utf-8")


# ---- loading back -----------------------------------------------------------------------------------------------


@contextmanager
def open_adapter(source: Source, folder: Path, pulse: Pulse) -> Iterator[Reader]:
    """With PEFT, on the base model."""
    from modelforge import loading
    from modelforge.exports.source import load_weights

    record = source.record
    weights = load_weights(record, source.base, source.dtype, source.loaded.recipe.seed)
    pulse()
    yield _make_reader(source, loading.load_adapter(weights, folder, record.name), folder, pulse)


@contextmanager
def open_merged(source: Source, folder: Path, pulse: Pulse) -> Iterator[Reader]:
    """With transformers."""
    from modelforge import base_model, loading

    merged = base_model.BaseModel(source.record.name, folder, "")
    kind = ARCHITECTURES[source.record.architecture]
    model = loading.load_model(merged, architecture=kind, dtype=source.dtype, device="cpu")
    yield _make_reader(source, model, folder, pulse)


@contextmanager
def open_gguf(source: Source, folder: Path, pulse: Pulse) -> Iterator[Reader]:
    """In llama.cpp, where that is installed; else with transformers, which reads the numbers but computes by itself."""
    from modelforge.engines.llama import is_installed
    from modelforge.exports import probes, readers
    from modelforge.exports.llama import Llama

    (file,) = folder.glob("*.gguf")
    context = probes.PROMPT_TOKENS + probes.FORCED_TOKENS + readers.WRITTEN_TOKENS
    if is_installed():
        pulse()
        with Llama(file, context) as loaded:
            yield readers.LlamaReader(loaded, pulse)
        return
    from transformers import AutoModelForCausalLM, AutoTokenizer

    fix = "Install llama.cpp for it: pip install 'modelforge[llama]'."
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file.name, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file.name, local_files_only=True)
    except Exception as error:
        raise ExportError("The file cannot be loaded back with transformers to be checked.", fix=fix) from error
    yield readers.TransformersReader(model.float().eval(), tokenizer, DECODER.name, pulse)


def _make_reader(source: Source, model: Any, folder: Path, pulse: Pulse) -> Reader:
    from modelforge import loading
    from modelforge.exports.readers import TransformersReader

    architecture = ARCHITECTURES[source.record.architecture]
    tokenizer = loading.load_tokenizer(folder, source.record.name, architecture)
    return TransformersReader(model.eval(), tokenizer, architecture.name, pulse)


FORMATS: dict[str, Format] = {
    "adapter": Format(
        "Adapter",
        "A small file that needs its base model: for PEFT and vLLM.",
        tuple(ARCHITECTURES),
        ("lora", "qlora"),
        size=lambda weights, _: weights * _LORA_BYTES,
        room=lambda weights, _: weights * _LORA_BYTES,
        write=write_adapter,
        open_back=open_adapter,
    ),
    "merged": Format(
        "Merged",
        "A whole model with the adapter folded in: for transformers, vLLM and most others.",
        tuple(ARCHITECTURES),
        ("lora", "qlora", "full"),
        size=lambda weights, bits: weights * bits / 8,
        room=lambda weights, bits: weights * bits / 8,
        write=write_merged,
        open_back=open_merged,
    ),
    "gguf": Format(
        "GGUF",
        "One file for llama.cpp, Ollama, LM Studio and Jan, with the chat template inside.",
        (DECODER.name,),
        ("lora", "qlora", "full"),
        size=lambda weights, bits: weights * bits / 8,
        room=lambda weights, bits: weights * (32 + 16 + bits) / 8,  # merged, and often 16 bits first
        write=write_gguf,
        open_back=open_gguf,
        is_quantized=True,
    ),
}
