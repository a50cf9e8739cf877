"""Which engine answers, and why: llama.cpp where it is installed and has the model's files, else transformers.

It holds what llama.cpp has loaded. Answers of llama.cpp are those of the model in 16 bits: they can differ from
transformers' in rounding, and so now and then in a word.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelforge import base_model, hardware, loading, paths
from modelforge.architecture import ARCHITECTURES
from modelforge.base_model.find import BaseModel, find_here
from modelforge.caller import OWNER, acting_as, current_caller
from modelforge.engines import files
from modelforge.engines.llama import MOST_CONTEXT, PACKAGE, LlamaServer, is_installed
from modelforge.errors import EngineError, ModelForgeError, NotFoundError
from modelforge.gguf import find_adapter_problem
from modelforge.gguf.converter import find_converter
from modelforge.models.prompt import Said, encode_prompt, fit_prompt
from modelforge.models.sampling import LENGTH, STOP, Sampling, Writing
from modelforge.models.untrained import is_untrained
from modelforge.store import ModelRecord

log = logging.getLogger("modelforge")

TRANSFORMERS = "transformers"
LLAMA = "llama.cpp (F16)"
RETRIED_AFTER = 600.0  # seconds, where something went wrong
MOST_LOADED = 2  # the two sides of a model that was trained whole
_GENERATION = "generation_config.json"


@dataclass(frozen=True)
class Source:
    """What llama.cpp's files are made of. adapter: None for whole models. scale: of the adapter."""

    folder: Path
    adapter: Path | None
    scale: float

    @property
    def key(self) -> tuple[Path, Path | None]:
        return self.folder, self.adapter


@dataclass
class Opened:
    """A model that llama.cpp has loaded, and what its own tokenizer says of it."""

    server: LlamaServer
    tokenizer: Any
    window: int
    stops: frozenset[int]


class Engine:
    """makes_files: whether missing files are made, in the background, when a model is first used."""

    def __init__(self) -> None:
        self.makes_files = False
        self._lock = threading.Lock()
        self._opened: dict[tuple[Path, Path | None], Opened] = {}
        self._problems: dict[tuple[Path, Path | None], tuple[float, str]] = {}
        self._making: set[tuple[Path, Path | None]] = set()

    def choose(self, record: ModelRecord, *, base: bool) -> tuple[Opened | None, float, str]:
        """(what llama.cpp has loaded or None, the scale of its adapter, why transformers answers)."""
        if reason := self._find_reason(record):
            return None, 0.0, reason
        with acting_as(current_caller() if is_untrained(record) else OWNER):  # as in `Playground.load`
            try:
                source = find_source(record, base=base)
                reason = self._find_problem(source) or self._find_files(source)
            except (ModelForgeError, OSError):  # files are missing or damaged: transformers says which
                return None, 0.0, ""
            if reason:
                return None, 0.0, reason
            try:
                return self._open(source, record), source.scale, ""
            except ModelForgeError as error:
                self._note_problem(source, str(error))
                return None, 0.0, str(error)

    def prepare(self, record: ModelRecord, watch: Callable[[float], None] = lambda share: None) -> str:
        """Make the files that are missing, and wait for it. Returns why that is not possible, or ""."""
        if reason := self._find_reason(record):
            return reason
        with acting_as(OWNER):
            source = find_source(record, base=False, find=base_model.resolve)
            self._problems.pop(source.key, None)
            try:
                files.make_files(source.folder, source.adapter, watch)
            except ModelForgeError as error:
                self._note_problem(source, str(error))
            return self._find_problem(source)

    @property
    def tokenizer(self) -> Any:
        """Of the model that was used last; None where none is loaded."""
        return next((opened.tokenizer for opened in reversed(list(self._opened.values()))), None)

    def unload(self, model_id: str | None = None) -> None:
        """Free the memory of that model, or of all; what they are writing ends."""
        own = paths.model_dir(model_id) if model_id else None
        with self._lock:
            for key in [each for each in self._opened if own is None or own in each]:
                self._opened.pop(key).server.stop()

    def _find_reason(self, record: ModelRecord) -> str:
        """What is known without looking at files."""
        if not is_installed():
            return f"the package {PACKAGE} is not installed (pip install modelforge[llama])"
        if record.architecture != "decoder":
            return "llama.cpp answers only for models that generate text"
        if record.tuning == "qlora":
            return "it was trained on a base model in 4 bits, which llama.cpp does not have"
        if hardware.detect().device.kind != "cpu":
            return "it is on the accelerator, which is faster"
        return ""

    def _find_problem(self, source: Source) -> str:
        since, problem = self._problems.get(source.key, (0.0, ""))
        return problem if time.monotonic() - since < RETRIED_AFTER else ""

    def _note_problem(self, source: Source, problem: str) -> None:
        self._problems[source.key] = (time.monotonic(), problem)

    def _find_files(self, source: Source) -> str:
        if source.adapter and (problem := find_adapter_problem(source.adapter)):
            return problem
        if files.are_made(source.folder, source.adapter):
            return ""
        if not self.makes_files:
            return "its file for llama.cpp was not made yet"
        if not find_converter().exists():  # nothing is downloaded that nobody asked for
            return "the converter for llama.cpp is not on this machine (modelforge starter downloads it)"
        with self._lock:
            if source.key not in self._making:
                self._making.add(source.key)
                threading.Thread(target=self._make, args=[source], name="modelforge-gguf", daemon=True).start()
        return "its file for llama.cpp is being made; the next answers are faster"

    def _make(self, source: Source) -> None:
        try:
            with acting_as(OWNER):
                files.make_files(source.folder, source.adapter)
        except ModelForgeError as error:
            self._note_problem(source, str(error))
        except Exception as error:
            self._note_problem(source, f"its file for llama.cpp could not be made ({type(error).__name__})")
            log.exception("a file for llama.cpp could not be made")
        finally:
            with self._lock:
                self._making.discard(source.key)

    def _open(self, source: Source, record: ModelRecord) -> Opened:
        with self._lock:
            opened = self._opened.pop(source.key, None)
            if opened is None or not opened.server.is_alive():
                while len(self._opened) >= MOST_LOADED:
                    self._opened.pop(next(iter(self._opened))).server.stop()
                opened = _load(source, record)
            self._opened[source.key] = opened  # the one that was used last is the last
            return opened


def find_source(record: ModelRecord, *, base: bool, find: Callable[[str], BaseModel | None] = find_here) -> Source:
    """find: the base model; by default only on this machine. Raises BaseModelError, NotFoundError."""
    own = paths.model_dir(record.id) if not is_untrained(record) else None
    if own is not None and not own.exists():
        raise NotFoundError(f"The files of {record.id} are missing.", where=str(own))
    if own is not None and record.tuning == "full" and not base:
        return Source(own, None, 0.0)
    found = find(record.base_model)
    if found is None:
        raise NotFoundError(f"The base model {record.base_model} is not on this machine.")
    adapter = own if record.tuning == "lora" else None
    return Source(found.folder, adapter, 0.0 if base or not adapter else 1.0)


def _load(source: Source, record: ModelRecord) -> Opened:
    model, adapter = files.find_model(source.folder), source.adapter and files.find_adapter(source.adapter)
    files.note_use(model, adapter)
    place = source.adapter or source.folder
    tokenizer = loading.load_tokenizer(place, record.name, ARCHITECTURES["decoder"])
    window = loading.window_of(loading.load_config(BaseModel(record.name, source.folder, "")))
    return Opened(LlamaServer(model, adapter, window), tokenizer, window, _find_stops(source.folder, tokenizer))


def _find_stops(folder: Path, tokenizer: Any) -> frozenset[int]:
    """The tokens with which an answer ends."""
    path = folder / _GENERATION
    configured = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.exists() else None
    several = configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in (*several, tokenizer.eos_token_id) if token is not None)


def write_answer(
    opened: Opened, said: Said, sampling: Sampling, writing: Writing, *, scale: float, whole: bool
) -> Iterator[str]:
    """As `generate.write_answer`, by llama.cpp. Raises EngineError, before anything is written, for a prompt that is
    longer than what it has room for."""
    tokenizer, server = opened.tokenizer, opened.server
    writing.is_plain = not isinstance(said, str) and not tokenizer.chat_template
    ids, longest = fit_prompt(
        encode_prompt(tokenizer, said), sampling.max_new_tokens, opened.window, writing, whole=whole
    )
    if len(ids) + longest > server.context:
        raise EngineError(f"prompt and answer are longer than the {MOST_CONTEXT:,} tokens that it has room for")
    writing.ending, writing.engine = LENGTH, LLAMA
    is_first = True
    for written in server.write(ids, longest, name_settings(sampling), scale=scale):
        if written.is_end or written.token in opened.stops:
            writing.ending, writing.tokens = STOP, max(writing.tokens, written.tokens - 1)
            return
        writing.tokens = written.tokens
        if text := written.text:
            yield text.removeprefix(_find_lead(tokenizer, written.token)) if is_first else text
            is_first = False


def _find_lead(tokenizer: Any, token: int) -> str:
    """What a tokenizer leaves out where this is the first token of a text: sentencepiece's space."""
    return "" if token < 0 or tokenizer.decode([token]).startswith(" ") else " "


def name_settings(sampling: Sampling) -> dict[str, Any]:
    """By llama.cpp's names, applied in the order of `generate.shape_logits`."""
    return {
        "samplers": ["penalties", "temperature", "top_k", "top_p", "min_p"],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repetition_penalty,
        "repeat_last_n": MOST_CONTEXT,
        "seed": secrets.randbelow(2**31) if sampling.seed is None else sampling.seed,
    }
