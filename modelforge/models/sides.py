"""The sides of a comparison: the tuned model, its base, what its run started from, each ready to be measured.

A side is opened when its turn comes and freed before the next one needs memory; where sides share their weights, as a
model with an adapter and its base do, one load serves both, and the adapter is switched once a batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from modelforge.compute.answer_loss import find_logits, sum_losses
from modelforge.data.encode import IGNORED, Encoded
from modelforge.errors import ModelForgeError
from modelforge.loading import window_of
from modelforge.models.chat import Playground
from modelforge.models.outcomes import BASE, BEFORE, TUNED
from modelforge.models.side_by_side import Item, group_by_length
from modelforge.recipe import Recipe
from modelforge.store import ModelRecord

STEP_TOKENS = 16  # of an answer, written in about the time that reading a row takes
Open = Callable[[], tuple[Any, Callable[[], AbstractContextManager[Any]]]]
"""Gives a model in eval mode, and what is entered while it is used: it switches shared weights to this side."""


@dataclass
class Side:
    """One of them. Use the model only inside `turn`."""

    name: str
    model: Any
    turn: Callable[[], AbstractContextManager[Any]]

    def sum_losses(self, rows: Sequence[Encoded], filler: int) -> list[float]:
        """Negative log likelihood of the labelled tokens of each row of a batch, in nats, summed. filler: a token
        id."""
        with self.turn(), torch.inference_mode():
            found: list[float] = sum_losses(self.model, *self._pad(rows, filler)).tolist()
        return found

    def read_logits(self, rows: Sequence[Encoded], filler: int, use: Callable[[Any, Any, Any], None]) -> None:
        """Call use(row, token, logits) for chunks of the labelled places of a batch, as `find_logits` gives them."""
        with self.turn(), torch.inference_mode():
            for part in find_logits(self.model, *self._pad(rows, filler)):
                use(*part)

    def _pad(self, rows: Sequence[Encoded], filler: int) -> tuple[Any, Any, Any]:
        """input_ids, mask, labels (B, T)."""
        longest = max(len(row.input_ids) for row in rows)

        def pad(values: Sequence[int], with_: int) -> list[int]:
            return [*values, *[with_] * (longest - len(values))]

        padded = (
            [pad(row.input_ids, filler) for row in rows],
            [pad([1] * len(row.input_ids), 0) for row in rows],
            [pad(row.labels, IGNORED) for row in rows],
        )
        ids, mask, labels = (torch.tensor(each, device=self.model.device) for each in padded)
        return ids, mask, labels


class Sides:
    """All sides of one measurement, and how far it has come.

    opens: side -> how it is opened, "tuned" among them. watch: called with the share of the work that is done, also for
    each token; what it raises ends the measurement. notes: a sentence for whatever could not be measured. span: the
    part of the work that is measured now, from and to which share.
    """

    def __init__(
        self,
        tokenizer: Any,
        recipe: Recipe,
        config: Any,
        opens: Mapping[str, Open],
        *,
        has_unanswerable: bool = False,
        watch: Callable[[float], None] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.recipe = recipe
        self.has_unanswerable = has_unanswerable
        self.config = config
        self.longest = min(recipe.max_length, window_of(config))
        self.notes: list[str] = []
        self.span = (0.0, 1.0)
        self.names = list(opens)
        self.filler: int = tokenizer.pad_token_id or 0
        self._opens = opens
        self._watch = watch or (lambda _: None)
        self._steps, self._done = 1, 0
        self._batch, self._room, self._written = 0, 0, 0  # steps of the batch; tokens of an answer, and so far

    def each(self, *names: str) -> Iterator[Side]:
        """The sides, or those of these names, one after another; one whose files are gone is noted and left out, but
        for the tuned one."""
        for name, open in self._opens.items():
            if names and name not in names:
                self.advance(self._steps // len(self._opens))
                continue
            try:
                side = Side(name, *open())
            except ModelForgeError as error:
                if name == TUNED:
                    raise
                what = "base model" if name == BASE else "model that it is compared with"
                self.notes.append(f"The {what} could not be measured. {error}")
                self.advance(self._steps // len(self._opens))
                continue
            yield side
            side.model = None

    def expect(self, read: int, written: int = 0, room: int = 0) -> None:
        """Set how many rows each side will read, and to how many it will write answers of at most `room` tokens."""
        self._steps, self._done = max((read + written * count_steps(room)) * len(self._opens), 1), 0

    def finish(self) -> None:
        """Say that all is done, also where something could not be measured."""
        self._watch(1.0)

    def advance(self, steps: int) -> None:
        self._done += steps
        self._report()

    @contextlib.contextmanager
    def pulse(self) -> Iterator[None]:
        """Entered for each token that is written, so that a measurement can be cancelled within a batch."""
        self._written += 1
        self._report()
        yield

    def _report(self) -> None:
        begin, end = self.span
        done = self._done + (self._batch * min(self._written / self._room, 1.0) if self._room else 0.0)
        self._watch(begin + (end - begin) * min(done / self._steps, 1.0))

    def sum_losses(self, side: Side, rows: Sequence[Encoded]) -> list[float]:
        """Negative log likelihood of the labelled tokens of each row, in nats, summed, in the order of the rows."""
        found = [0.0] * len(rows)
        for batch in self.batches(range(len(rows)), lambda place: len(rows[place].input_ids)):
            sums = side.sum_losses([rows[place] for place in batch], self.filler)
            for place, loss in zip(batch, sums, strict=True):
                found[place] = loss
        return found

    def batches(self, items: Sequence[Item], tokens: Callable[[Item], int], room: int = 0) -> Iterator[list[Item]]:
        """All items, those of similar length together; each batch counts as done when the next one is taken.

        tokens: of an item. room: for its answer, where one is written: each `pulse` is a token of it.
        """
        for batch in group_by_length(items, lambda item: tokens(item) + room):
            steps = len(batch) * count_steps(room)
            self._batch, self._room, self._written = steps, room, 0
            yield batch
            self._room = 0
            self.advance(steps)


def count_steps(room: int) -> int:
    """Of a row with an answer of at most `room` tokens: how many rows are read in the same time, about."""
    return 1 + room // STEP_TOKENS


def open_sides(
    playground: Playground,
    record: ModelRecord,
    parent: ModelRecord | None = None,
    watch: Callable[[float], None] | None = None,
) -> Sides:
    """The sides of a finished model: "tuned", "base", and "before" where it was trained further. Raises NotFoundError,
    BaseModelError."""
    loaded, model = playground.load(record)

    def opens(used: ModelRecord, *, base: bool) -> Open:
        def open() -> tuple[Any, Callable[[], AbstractContextManager[Any]]]:
            model = playground.load(used, base=base)[1]
            return model, lambda: playground.turn(model, base=base)

        return open

    listed = {TUNED: opens(record, base=False), BASE: opens(record, base=True)}
    listed |= {BEFORE: opens(parent, base=False)} if parent else {}
    has_unanswerable = loaded.has_unanswerable
    return Sides(loaded.tokenizer, loaded.recipe, model.config, listed, has_unanswerable=has_unanswerable, watch=watch)
