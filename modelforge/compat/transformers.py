"""transformers: the private steps in which a Trainer saves itself and chooses batches, as methods to override; the
setup of trackers; and what renders a chat template.

Trainer has no public place for any of these steps: callbacks run only before or after, and see neither the folder nor
the sampler. Nor is there one for rendering, which is bounded neither in time nor in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any


class SavingSteps:
    """For trainers: the steps of saving by public names. A subclass overrides those that it changes."""

    def checkpoints_folder(self) -> Path:
        """The folder in which the folder of a checkpoint is written."""
        raise NotImplementedError

    def write_checkpoint(self, write: Callable[[], None]) -> None:
        """Save a checkpoint; `write` is transformers' way, which uses `checkpoints_folder` and `write_weights`."""
        raise NotImplementedError

    def write_weights(self, folder: str) -> None:
        """Write the model's part of a checkpoint."""
        raise NotImplementedError

    def save_checkpoint(self) -> None:
        """Save a checkpoint now, outside of the training loop."""
        self._save_checkpoint(self.model, None)  # type: ignore[attr-defined]

    def load_weights(self, checkpoint: Path) -> None:
        """Load the model's part of a checkpoint into the model, whether these are all weights or an adapter's."""
        self._load_from_checkpoint(str(checkpoint))  # type: ignore[attr-defined]

    def load_random_state(self, checkpoint: Path) -> None:
        """Set the random numbers back to where they were at a checkpoint."""
        self._load_rng_state(str(checkpoint))  # type: ignore[attr-defined]

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.checkpoints_folder())

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.write_checkpoint(partial(super()._save_checkpoint, model, trial))  # type: ignore[misc]

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        self.write_weights(output_dir or self.args.output_dir)  # type: ignore[attr-defined]


class ChosenSampler:
    """For trainers: a subclass makes the sampler of the training rows itself."""

    def make_sampler(self, rows: Any) -> Any:
        """A torch Sampler of indices into those rows."""
        raise NotImplementedError

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self.make_sampler(train_dataset or self.train_dataset)  # type: ignore[attr-defined]


class OwnSetup:
    """For the callbacks of trackers: `begin` in place of their setup, which describes the machine and the arguments."""

    def begin(self) -> None:
        raise NotImplementedError

    def setup(self, args: Any, state: Any, model: Any, **kwargs: Any) -> None:
        self.begin()
        self._initialized = True  # or it would be set up again at the next number


def use_one_card(arguments: Any) -> Any:
    """The same TrainingArguments, for one process that drives one card: with several visible, Trainer would wrap the
    model in DataParallel, which TRL refuses. The public `n_gpu` cannot be set."""
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def render_templates_with(make: Callable[[str], Any]) -> None:
    """Let `make` give, for a template's text, the object whose `render(**variables)` gives the text of a chat: for
    every `apply_chat_template`, also of TRL."""
    from transformers.utils import chat_template_utils

    chat_template_utils._compile_jinja_template = make


def attention_of(model: Any) -> str:
    """The name of a model's attention, which can be set in public and only be read in private."""
    return str(getattr(model.config, "_attn_implementation", ""))
