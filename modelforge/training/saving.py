"""When and how a trainer saves itself, so that a run can go on from there as if nothing had happened."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import TrainerState

from modelforge.errors import DiskFullError, RunawayError, is_disk_full
from modelforge.models.folder import only_own_adapter
from modelforge.recipe import Recipe
from modelforge.scores.metrics import rank
from modelforge.training import checkpoints
from modelforge.training.callback import count_tokens, runaway


class Durable:
    """For trainers: a checkpoint is written aside and gets its name when it is complete and on the disk.

    best_step: a checkpoint that is kept beside the last one; None for none.
    """

    best_step: int | None = None

    def _get_output_dir(self, trial: Any) -> str:
        return str(Path(self.args.output_dir) / checkpoints.PARTIAL)  # type: ignore[attr-defined]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        place, step = Path(self.args.output_dir), self.state.global_step  # type: ignore[attr-defined]
        self._refuse_lost_weights()
        partial = checkpoints.folder_of(place / checkpoints.PARTIAL, step)
        shutil.rmtree(partial.parent, ignore_errors=True)
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
            written = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
            checkpoints.seal(partial, checkpoints.folder_of(place, step), {"step": step, "bytes": written})
        except Exception as error:
            written = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
            shutil.rmtree(partial.parent, ignore_errors=True)
            if not is_disk_full(error):
                raise
            last = checkpoints.find_last(place)
            needed = max(written, int(checkpoints.read_facts(last).get("bytes", 0)) if last else 0)
            free = shutil.disk_usage(place).free
            raise DiskFullError(needed=needed, free=free, where=str(place)) from error
        checkpoints.keep_only(place, {step, self.best_step} - {None})

    def _refuse_lost_weights(self) -> None:
        """A checkpoint of weights that are no numbers would take the place of a good one."""
        for name, part in self.model.named_parameters():  # type: ignore[attr-defined]
            if part.requires_grad and not bool(torch.isfinite(part).all()):
                step = self.state.global_step  # type: ignore[attr-defined]
                raise runaway(f"Training diverged: the weights of {name} are not finite at step {step}.")

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The weights that are trained, and nothing that can be had elsewhere."""
        self.model.save_pretrained(output_dir, **only_own_adapter(self.model))  # type: ignore[attr-defined]

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: ours is written when a model is pushed."""


class BestCallback(TrainerCallback):
    """Has the weights kept that did best on the held-out rows, and stops when nothing gets better any more.

    measured: step -> metrics, kept up to date by who measures. patience: measurements without a better one; 0 for ever.
    """

    def __init__(self, trainer: Any, measured: Mapping[int, Mapping[str, float]], *, keep: bool, patience: int) -> None:
        self.trainer = trainer
        self.measured = measured
        self.keep = keep
        self.patience = patience

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.keep and state.global_step:
            self.trainer.best_step = self._best()

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 0:
            return
        best = self._best()
        if self.keep and best == state.global_step:
            self.trainer.best_step = best
            control.should_save = True
        since = sum(step > (best or 0) for step in self.measured)
        if self.patience and since >= self.patience:
            control.should_training_stop = True

    def _best(self) -> int | None:
        """The earliest step after which the telling metric was best; what was measured before training does not
        count."""
        steps = sorted(step for step in self.measured if step)
        return max(steps, key=lambda step: rank(self.measured[step]), default=None)


class MissedMeasurement(TrainerCallback):
    """Makes up for a measurement that was left out for a break: before the first step, but once the random numbers are
    back, of which measuring takes some."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer is not None:
            trainer, self.trainer = self.trainer, None
            trainer.evaluate()


class SavingCallback(TrainerCallback):
    """Asks for a checkpoint whenever so much work would be lost without one, and when the run shall pause."""

    def __init__(
        self, emit: Callable[..., None], *, seconds: float, steps: int, is_pausing: Callable[[], bool]
    ) -> None:
        self.emit = emit
        self.seconds = seconds
        self.steps = steps
        self.is_pausing = is_pausing
        self._saved = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._saved = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.is_pausing():
            control.should_save = control.should_training_stop = True
            control.should_evaluate = False  # it is made up for when the run goes on
        elif state.global_step < state.max_steps:
            overdue = time.monotonic() - self._saved >= self.seconds
            in_turn = bool(self.steps) and state.global_step % self.steps == 0
            control.should_save = control.should_save or overdue or in_turn

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._saved = time.monotonic()
        self.emit("checkpoint", step=state.global_step, total_steps=state.max_steps)


def add_saving(
    trainer: Any,
    measured: Mapping[int, Mapping[str, float]],
    recipe: Recipe,
    emit: Callable[..., None],
    is_pausing: Callable[[], bool],
) -> None:
    """Let a trainer save itself as the recipe says. measured: as for `BestCallback`."""
    keep = recipe.load_best_model_at_end
    trainer.add_callback(BestCallback(trainer, measured, keep=keep, patience=recipe.early_stopping_patience))
    trainer.add_callback(
        SavingCallback(emit, seconds=recipe.checkpoint_minutes * 60, steps=recipe.save_steps, is_pausing=is_pausing)
    )


def go_on(trainer: Any, checkpoint: Path | None) -> None:
    """Train: from the beginning, or from a checkpoint on, with the same batches and the same random numbers as if
    there had been no break."""
    if checkpoint is None:
        trainer.train()
        return
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    if hasattr(trainer, "_total_train_tokens"):
        trainer._total_train_tokens = count_tokens(state)
    if state.global_step >= state.max_steps:
        _restore(trainer, checkpoint, state)
        return
    measured = {entry["step"] for entry in state.log_history if "eval_loss" in entry}
    trainer.args.eval_on_start = False
    trainer.args.eval_steps = state.eval_steps
    due = state.global_step % state.eval_steps == 0 and state.global_step not in measured
    if due and trainer.eval_dataset is not None:
        trainer.add_callback(MissedMeasurement(trainer))
    trainer.train(resume_from_checkpoint=str(checkpoint))


def _restore(trainer: Any, checkpoint: Path, state: TrainerState) -> None:
    """Load the checkpoint of the last step: transformers' `train` would do one step too many."""
    trainer._load_from_checkpoint(str(checkpoint))
    trainer._load_rng_state(str(checkpoint))
    trainer.state = state
    trainer.callback_handler.on_train_begin(trainer.args, state, trainer.control)


def pause(trainer: Any) -> None:
    """Save a run that was left, unless its last step is saved already."""
    step = trainer.state.global_step
    if step and not checkpoints.is_whole(checkpoints.folder_of(Path(trainer.args.output_dir), step)):
        trainer._save_checkpoint(trainer.model, None)


def take_best(trainer: Any, error: RunawayError | None) -> int:
    """Put the weights back that did best, or the last that were good where the run ended with an error. Returns the
    step that they are of. Raises the error where there are none."""
    place, step = Path(trainer.args.output_dir), trainer.state.global_step
    if error:
        last = checkpoints.find_last(place)
        if last is None:
            raise error
        trainer._load_from_checkpoint(str(last))
        return checkpoints.step_of(last)
    best = trainer.best_step
    if best in (None, step) or not checkpoints.is_whole(checkpoints.folder_of(place, best)):
        return int(step)
    trainer._load_from_checkpoint(str(checkpoints.folder_of(place, best)))
    return int(best)
