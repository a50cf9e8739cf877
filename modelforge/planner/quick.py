"""Quick tuning: only the topmost layers are trained, and what the layers below make of each row is computed once. How
fast that is compared with training every layer, and where it is offered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelforge.compute.compute import Compute
from modelforge.planner.duration import count_passes
from modelforge.planner.memory import weight_bytes
from modelforge.recipe import Recipe
from modelforge.tasks import TASKS

MOST_STORED_BYTES = 10_000_000_000
"""Of what the layers below make of all rows."""
_SHARE_OF_LAYERS, _LEARNING_RATE = 1 / 3, 5e-4
"""What is offered, and its lowest learning rate: fewer layers need larger steps. Measured with the starter."""
_FEWEST_LAYERS = 12  # of a base model: a third of fewer learns too little
_SHORTEST_SECONDS = 180.0  # a run that is done sooner needs no offer
_PAYS_BELOW = 0.7  # of the time that training every layer takes
_ANSWERS = 0.7  # share of a row's tokens that are answers: only those go through the output matrix


@dataclass(frozen=True)
class Quicker:
    """Settings that make a run quicker, what they trade in words, and how long it then takes."""

    settings: Mapping[str, Any]
    sentence: str
    seconds: float


@dataclass(frozen=True)
class Work:
    """What a run goes through. rows: None where unknown; row_tokens: the mean; longest: of a row, 0 where unknown."""

    compute: Compute
    config: Any
    rows: int | None
    row_tokens: float
    longest: float = 0.0

    @property
    def layers(self) -> int:
        return getattr(self.config.get_text_config(), "num_hidden_layers", 0) or 0

    @property
    def tokens(self) -> float:
        """Of all rows."""
        return (self.rows or 0) * self.row_tokens

    def is_stored(self, recipe: Recipe) -> bool:
        """Whether the run stores what its frozen layers compute: as `training.frozen_layers` decides it, from sizes."""
        is_decoder = recipe.method == "sft" and "encoder" not in TASKS[recipe.task].architectures
        width = getattr(self.config.get_text_config(), "hidden_size", 0) or 0
        needed = self.tokens * width * (4 if self.compute.dtype == "float32" else 2)
        is_read_again = count_passes(recipe, self.rows) > 1
        return is_decoder and self.compute.device != "cuda" and is_read_again and needed <= MOST_STORED_BYTES

    def share_of_step(self, recipe: Recipe) -> float:
        """How long a step takes, as a share of one that trains every layer."""
        trained = self._count_trained(recipe)
        if trained == self.layers:
            return 1.0
        below = 0 if self.is_stored(recipe) else 2 * (self.layers - trained)
        return (self._head + self._layer * (trained * _work(recipe) + below)) / self._whole(recipe)

    def share_of_storing(self, recipe: Recipe) -> float:
        """The same of storing what the frozen layers make of the same rows; 0 where that is not done."""
        frozen = self.layers - self._count_trained(recipe)
        return 2 * frozen * self._layer / self._whole(recipe) if frozen and self.is_stored(recipe) else 0.0

    def _whole(self, recipe: Recipe) -> float:
        return self._head + self._layer * self.layers * _work(recipe)

    def _count_trained(self, recipe: Recipe) -> int:
        return min(recipe.tuning.top_layers or self.layers, self.layers)

    @property
    def _embeddings(self) -> int:
        text = self.config.get_text_config()
        return (getattr(text, "vocab_size", 0) or 0) * (getattr(text, "hidden_size", 0) or 0)

    @property
    def _head(self) -> float:
        """Operations of the frozen output matrix, forward and backward, for each token of a row."""
        return 4 * _ANSWERS * self._embeddings

    @property
    def _layer(self) -> float:
        """Numbers in a layer."""
        text = self.config.get_text_config()
        matrices = 1 if getattr(text, "tie_word_embeddings", True) else 2
        numbers = weight_bytes(text, dtype="float32") / 4 - matrices * self._embeddings
        return max(numbers, 1) / max(self.layers, 1)


def at_full_depth(recipe: Recipe) -> Recipe:
    """The same recipe with every layer trained."""
    return recipe.model_copy(update={"tuning": recipe.tuning.model_copy(update={"top_layers": 0})})


def propose_quick(recipe: Recipe, work: Work) -> Recipe | None:
    """The recipe with only the top layers trained; None where nothing would be stored, or layers were chosen."""
    if recipe.tuning.top_layers or not recipe.tuning.has_adapter or recipe.parent or work.layers < _FEWEST_LAYERS:
        return None
    settings = {"tuning.top_layers": round(work.layers * _SHARE_OF_LAYERS)}
    rate = {"learning_rate": _LEARNING_RATE} if recipe.learning_rate < _LEARNING_RATE else {}
    changed = recipe.with_settings({**settings, **rate})
    return changed if work.is_stored(changed) else None


def describe_quick(recipe: Recipe, changed: Recipe, work: Work, seconds: float, quick_seconds: float) -> Quicker | None:
    """The offer of `changed`; None where it does not pay. seconds, quick_seconds: of both runs."""
    if seconds < _SHORTEST_SECONDS or quick_seconds > _PAYS_BELOW * seconds:
        return None
    settings: dict[str, Any] = {"tuning.top_layers": changed.tuning.top_layers}
    if changed.learning_rate != recipe.learning_rate:
        settings["learning_rate"] = changed.learning_rate
    sentence = (
        f"Quick: train only the top {changed.tuning.top_layers} of {work.layers} layers, in about "
        f"{quick_seconds / 60:.0f} instead of {seconds / 60:.0f} min. The model learns slightly less."
    )
    return Quicker(settings, sentence, quick_seconds)


def _work(recipe: Recipe) -> int:
    """Operations for each weight of a trained layer and token, as in `duration`."""
    return 4 if recipe.tuning.has_adapter else 6
