"""The Playground: one loaded model at a time, tuned and as its base, that answers prompts, documents and questions.

A record made by `untrained.find_untrained` lets a base model answer before any training.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from modelforge import paths
from modelforge.caller import OWNER, acting_as, current_caller
from modelforge.errors import EngineError, RecipeError
from modelforge.models import engine as engines
from modelforge.models.adapter_switch import AdapterSwitch
from modelforge.models.prompt import Said
from modelforge.models.sampling import Sampling, Writing
from modelforge.models.untrained import fetch, is_untrained
from modelforge.recipe import Task
from modelforge.store import ModelRecord
from modelforge.tasks import TASKS

if TYPE_CHECKING:
    from modelforge.models.loaded import Loaded
    from modelforge.models.spans import Span


class Playground:
    """Loads a model when it is first used and keeps it until another one is used or a run needs the memory.

    Several answers can be written at once, taking turns token by token: the switch between base and fine-tuned is a
    state of the shared weights.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: Loaded | None = None
        self._switch = AdapterSwitch()
        self.engine = engines.Engine()

    def answer(
        self,
        record: ModelRecord,
        said: Said,
        sampling: Sampling,
        *,
        base: bool = False,
        writing: Writing | None = None,
        whole: bool = False,
    ) -> Iterator[str]:
        """Yield the reply to a conversation, or what continues a text, in pieces. base: let the untrained model answer.
        writing: is filled in. whole: refuse a prompt that would be cut. Close the iterator to stop. Raises RecipeError
        for a model that cannot chat."""
        _check_architecture(record, "decoder", "It cannot chat.")
        writing = writing or Writing()
        try:
            yield from self._answer_fast(record, said, sampling, writing, base=base, whole=whole)
            return
        except EngineError as error:
            if writing.tokens:
                raise
            writing.reason = str(error)
        from modelforge.models.generate import write_answer  # loads torch: not before the first question

        loaded, model = self.load(record, base=base)
        turn = partial(self.turn, model, base=base)
        writing.engine = engines.TRANSFORMERS
        yield from write_answer(model, loaded.tokenizer, said, sampling, turn, writing=writing, whole=whole)

    def _answer_fast(
        self,
        record: ModelRecord,
        said: Said,
        sampling: Sampling,
        writing: Writing,
        *,
        base: bool,
        whole: bool,
    ) -> Iterator[str]:
        """By llama.cpp. Raises EngineError where it cannot."""
        if sampling.engine == engines.TRANSFORMERS:
            raise EngineError("")
        opened, scale, reason = self.engine.choose(record, base=base)
        if opened is None:
            raise EngineError(reason)
        yield from engines.write_answer(opened, said, sampling, writing, scale=scale, whole=whole)

    def summarise(
        self,
        record: ModelRecord,
        document: str,
        sampling: Sampling,
        *,
        base: bool = False,
        writing: Writing | None = None,
    ) -> Iterator[str]:
        """Yield the summary of a document in pieces, with the prompt of the training."""
        _check_filled("document", document)
        to_messages = TASKS[Task.SUMMARIZATION].to_messages
        if record.architecture == "decoder" and to_messages:
            yield from self.answer(record, to_messages({"document": document}), sampling, base=base, writing=writing)
            return
        _check_architecture(record, "encoder-decoder", "It cannot write text.")
        from modelforge.data.encode import PairEncoder
        from modelforge.models.generate import write_text

        loaded, model = self.load(record, base=base)
        encoder = PairEncoder(loaded.tokenizer, loaded.recipe.max_length, loaded.recipe.max_target_length)
        source = encoder.encode(document, "").input_ids
        if writing:
            writing.prompt_tokens, writing.window, writing.cut_end = (
                len(encoder.encode_whole(document)),
                len(source),
                True,
            )
            writing.cut_tokens = writing.prompt_tokens - len(source)
        turn = partial(self.turn, model, base=base)
        yield from write_text(model, loaded.tokenizer, source, sampling, turn, writing=writing)

    def find_answer(self, record: ModelRecord, context: str, question: str, *, base: bool = False) -> Span:
        """Where in the context the answer to the question is. Raises RecipeError for a model without a span
        head."""
        _check_filled("context", context)
        _check_filled("question", question)
        _check_architecture(record, "encoder", "It cannot find answers in a text.")
        from modelforge.models.spans import find_answers, window_encoder

        loaded, model = self.load(record, base=base)
        (span,) = find_answers(
            model,
            window_encoder(loaded.tokenizer, loaded.recipe, model.config),
            [(context, question)],
            max_answer_length=loaded.recipe.max_answer_length,
            may_be_missing=loaded.has_unanswerable,
            turn=lambda: self.turn(model, base=base),
        )
        return span

    def load(self, record: ModelRecord, *, base: bool = False) -> tuple[Loaded, Any]:
        """(what is loaded, its tuned model or its base). The model is shared: use it only inside a `turn`."""
        if is_untrained(record):
            fetch(record)  # which can take minutes, in which others are answered
        # Who may use a model uses its base model too, wherever that lies; a base model alone is named by this person.
        with self._lock, acting_as(current_caller() if is_untrained(record) else OWNER):
            loaded = self._loaded
            is_there = is_untrained(record) or paths.model_dir(record.id).exists()
            if loaded is None or loaded.record.id != record.id or not is_there:
                from modelforge.models.loaded import load_tuned

                loaded = self._loaded = None  # free the old one before the new one comes
                loaded = self._loaded = load_tuned(record)
            if base and loaded.base is None:
                from modelforge.models.loaded import load_base

                loaded.base = load_base(loaded)
            return loaded, loaded.base if base else loaded.tuned

    @contextlib.contextmanager
    def turn(self, model: Any, *, base: bool, pulse: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Lock the model for one step, fine-tuned or, without its adapter, as its base. pulse: called before it."""
        pulse()
        with self._lock:
            self._switch.choose(model, base=base)
            yield

    def count_tokens(self, text: str) -> int:
        """How many tokens the text has for the model that was loaded last."""
        tokenizer = self._loaded.tokenizer if self._loaded else self.engine.tokenizer
        return len(tokenizer(text, add_special_tokens=False)["input_ids"]) if tokenizer else 0

    def unload(self, model_id: str | None = None) -> None:
        """Free the memory of that model, or of any model that is loaded."""
        self.engine.unload(model_id)
        with self._lock:
            if self._loaded and model_id in (None, self._loaded.record.id):
                self._loaded = None


def _check_filled(name: str, text: str) -> None:
    if not text.strip():
        raise RecipeError(f"There is no {name}.", where=name, fix="Fill it in.")


def _check_architecture(record: ModelRecord, wanted: str, sentence: str) -> None:
    if record.architecture != wanted:
        fixes = {
            "decoder": "Give it a prompt.",
            "encoder-decoder": "Give it a document.",
            "encoder": "Give it a context and a question.",
        }
        what = f"{record.name} is a model for {record.task}. {sentence}"
        raise RecipeError(what, where=record.name, fix=fixes[record.architecture])
