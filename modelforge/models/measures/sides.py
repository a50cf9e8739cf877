"""The tuned model and its base, as those who measure get them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from modelforge.loading import window_of
from modelforge.models.chat import Playground
from modelforge.models.loaded import Loaded

Measured = tuple[int, Mapping[str, Mapping[str, float]]]
"""How many rows were measured with, and {"tuned", "base"} -> metric -> value."""


@dataclass(frozen=True)
class Side:
    """One of the two. Entering `turn` makes shared weights the one or the other: use the model only inside."""

    name: str
    model: Any
    turn: Callable[[], AbstractContextManager[None]]


class Sides:
    """Both sides of a loaded model. advance: told of each piece of work done, as a share of all of it."""

    def __init__(self, playground: Playground, loaded: Loaded, watch: Callable[[float], None] | None) -> None:
        self.loaded = loaded
        self.tokenizer = loaded.tokenizer
        self.recipe = loaded.recipe
        self._playground = playground
        self._watch = watch
        self._steps, self._done = 1, 0

    @property
    def longest(self) -> int:
        """Tokens of a row that are measured with: those that training saw."""
        return min(self.recipe.max_length, window_of(self.loaded.tuned.config))

    def both(self) -> list[Side]:
        """The tuned side, then the base; a base of its own is loaded when it is its turn."""
        return [self._side("tuned"), self._side("base")]

    def expect(self, steps: int) -> None:
        """Say how many steps there will be."""
        self._steps, self._done = max(steps, 1), 0

    def advance(self, steps: int) -> None:
        self._done += steps
        if self._watch is not None:
            self._watch(self._done / self._steps)

    def _side(self, name: str) -> Side:
        base = name == "base"
        _, model = self._playground.load(self.loaded.record, base=base)
        return Side(name, model, partial(self._playground.turn, model, base=base))
