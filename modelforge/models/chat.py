"""The Playground: one loaded model at a time, base and fine-tuned on the same weights."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from modelforge import base_model, hardware, loading, paths
from modelforge.errors import NotFoundError
from modelforge.models import folder
from modelforge.models.sampling import Message, Sampling
from modelforge.store import ModelRecord


class Playground:
    """Loads a model when somebody talks to it and keeps it until another one is wanted or a run needs the memory.

    Several answers may be written at once, each taking its turn token by token: the switch between base and fine-tuned
    is a state of the shared weights.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded_id = ""
        self._model: Any = None
        self._tokenizer: Any = None

    def answer(
        self, record: ModelRecord, messages: Sequence[Message], sampling: Sampling, *, base: bool = False
    ) -> Iterator[str]:
        """Yield the reply in pieces. base: let the untrained model answer. Closing the iterator stops the writing."""
        from modelforge.models.generate import write_answer  # loads torch: not before the first question

        model, tokenizer = self.load(record)
        yield from write_answer(model, tokenizer, messages, sampling, lambda: self.turn(model, base=base))

    def load(self, record: ModelRecord) -> tuple[Any, Any]:
        """(model with its adapter, tokenizer), shared with whoever else talks to it: use it only inside a `turn`."""
        with self._lock:
            return self._load(record)

    @contextlib.contextmanager
    def turn(self, model: Any, *, base: bool) -> Iterator[None]:
        """Have the model to oneself for a step, fine-tuned or as its base."""
        with self._lock, model.disable_adapter() if base else contextlib.nullcontext():
            yield

    def count_tokens(self, text: str) -> int:
        """How many tokens that text is for the model loaded last."""
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"]) if self._tokenizer else 0

    def unload(self, model_id: str | None = None) -> None:
        """Free the memory: of that model, or of whichever is loaded."""
        with self._lock:
            if model_id in (None, self._loaded_id):
                self._loaded_id, self._model, self._tokenizer = "", None, None

    def _load(self, record: ModelRecord) -> tuple[Any, Any]:
        if self._loaded_id == record.id and paths.model_dir(record.id).exists():
            return self._model, self._tokenizer
        self._loaded_id, self._model, self._tokenizer = "", None, None  # free the old one before the new one comes
        self._model, self._tokenizer = load_finished_model(record)
        self._loaded_id = record.id
        return self._model, self._tokenizer


def load_finished_model(record: ModelRecord) -> tuple[Any, Any]:
    """(model with its adapter, tokenizer), ready to answer. Raises NotFoundError or BaseModelError."""
    from peft import PeftModel
    from safetensors import SafetensorError

    place = paths.model_dir(record.id)
    folder.read_manifest(record.id)  # whole, or NotFoundError
    base = base_model.resolve(record.base_model)
    found = hardware.probe()
    dtype = "float32" if found.kind == "cpu" else max(found.gigaflops, key=lambda name: found.gigaflops[name])
    tokenizer = loading.load_tokenizer(place, record.name)
    weights = loading.load_model(base, dtype=dtype, device=found.kind)
    try:
        model = PeftModel.from_pretrained(weights, place)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise NotFoundError(
            f"The adapter of {record.name} cannot be loaded: {str(error).splitlines()[0]}",
            where=str(place),
            fix="Its files are damaged; train it again.",
        ) from error
    return model.eval(), tokenizer
