"""Answers to many rows at once, of whatever kind of model: rows of similar length are answered side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from modelforge.models.chat import Playground
from modelforge.models.prompt import encode_prompt
from modelforge.store import ModelRecord

AT_ONCE = 16  # rows side by side
TOKENS_AT_ONCE = 4096  # of a batch, padding and room for answers included: 190 MB of cache for the starter
Item = TypeVar("Item")


def group_by_length(items: Sequence[Item], tokens: Callable[[Item], int]) -> Iterator[list[Item]]:
    """All items in batches of similar length. tokens: of an item, with room for its answer."""
    batch: list[Item] = []
    for item in sorted(items, key=tokens):
        if batch and (len(batch) == AT_ONCE or (len(batch) + 1) * tokens(item) > TOKENS_AT_ONCE):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def answer_rows(
    playground: Playground,
    record: ModelRecord,
    rows: Mapping[int, Mapping[str, Any]],
    max_new_tokens: int,
    *,
    base: bool = False,
    pulse: Callable[[], None] = lambda: None,
) -> Iterator[dict[int, str]]:
    """Yield the likeliest answers, by row, as each batch is done.

    rows: number -> {"messages": [...]}, {"document": text} or {"context", "question"}, as fits the model. pulse: called
    for each token; what it raises ends the work. Raises RecipeError for a conversation that the template refuses.
    """
    loaded, model = playground.load(record, base=base)
    turn = partial(playground.turn, model, base=base, pulse=pulse)
    work = {"decoder": _answer_chats, "encoder-decoder": _answer_documents, "encoder": _answer_questions}
    yield from work[record.architecture](loaded, model, rows, max_new_tokens, turn)


def _answer_chats(
    loaded: Any, model: Any, rows: Mapping[int, Any], longest: int, turn: Any
) -> Iterator[dict[int, str]]:
    from modelforge.models.generate import write_answers
    from modelforge.tasks import TASKS

    to_messages = TASKS[loaded.recipe.task].to_messages
    said = {number: row.get("messages") or to_messages(row) for number, row in rows.items()}  # type: ignore[misc]
    prompts = {number: encode_prompt(loaded.tokenizer, each) for number, each in said.items()}
    for batch in group_by_length(list(prompts), lambda number: len(prompts[number]) + longest):
        texts = write_answers(model, loaded.tokenizer, [prompts[number] for number in batch], longest, turn)
        yield dict(zip(batch, texts, strict=True))


def _answer_documents(
    loaded: Any, model: Any, rows: Mapping[int, Any], longest: int, turn: Any
) -> Iterator[dict[int, str]]:
    from modelforge.data.encode import PairEncoder
    from modelforge.models.generate import write_texts

    encoder = PairEncoder(loaded.tokenizer, loaded.recipe.max_length, loaded.recipe.max_target_length)
    sources = {number: encoder.encode(row["document"], "").input_ids for number, row in rows.items()}
    for batch in group_by_length(list(sources), lambda number: len(sources[number]) + longest):
        texts = write_texts(model, loaded.tokenizer, [sources[number] for number in batch], longest, turn)
        yield dict(zip(batch, texts, strict=True))


def _answer_questions(loaded: Any, model: Any, rows: Mapping[int, Any], _: int, turn: Any) -> Iterator[dict[int, str]]:
    from modelforge.models.spans import find_answers, window_encoder

    for number, row in rows.items():
        (span,) = find_answers(
            model,
            window_encoder(loaded.tokenizer, loaded.recipe, model.config),
            [(row["context"], row["question"])],
            max_answer_length=loaded.recipe.max_answer_length,
            may_be_missing=loaded.has_unanswerable,
            turn=turn,
        )
        yield {number: span.text}
