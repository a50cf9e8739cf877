"""The models that are measured side by side: the tuned one, its base, and the one that its run started from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from modelforge.loading import window_of
from modelforge.models.chat import Playground
from modelforge.store import ModelRecord

Measured = tuple[int, Mapping[str, Mapping[str, float]]]
"""How many rows were measured, and {"tuned", "base", "before"} -> metric -> value."""


@dataclass
class Side:
    """One of the models. Use it only inside `turn`, which switches shared weights to it."""

    name: str
    model: Any
    playground: Playground

    def turn(self) -> AbstractContextManager[None]:
        return self.playground.turn(self.model, base=self.name == "base")


class Sides:
    """The sides of a model, measured with the tokenizer and the recipe of that model.

    longest: tokens of a row that count, as in training. parent: the model that its run started from; None for the base
    model. watch: called with the share of the work that is done.
    """

    def __init__(
        self,
        playground: Playground,
        record: ModelRecord,
        parent: ModelRecord | None,
        watch: Callable[[float], None] | None,
    ) -> None:
        loaded, _ = playground.load(record)
        self.tokenizer = loaded.tokenizer
        self.recipe = loaded.recipe
        self.has_unanswerable = loaded.has_unanswerable
        self.longest = min(loaded.recipe.max_length, window_of(loaded.tuned.config))
        self._records = {"tuned": record, "base": record} | ({"before": parent} if parent else {})
        self._playground = playground
        self._watch = watch
        self._steps, self._done = 1, 0

    def each(self) -> Iterator[Side]:
        """The sides, one after another; each is loaded when it is reached, and freed before another model is loaded."""
        for name, record in self._records.items():
            side = Side(name, self._playground.load(record, base=name == "base")[1], self._playground)
            yield side
            side.model = None

    def expect(self, steps: int) -> None:
        """Set how many steps there will be for each side."""
        self._steps, self._done = max(steps * len(self._records), 1), 0

    def advance(self, steps: int) -> None:
        self._done += steps
        if self._watch is not None:
            self._watch(self._done / self._steps)
