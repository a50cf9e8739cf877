"""When and how a trainer saves itself, so that a run can resume from there as if it had not been interrupted."""

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

from modelforge.compat.transformers import SavingSteps
from modelforge.compat.trl import restore_token_count
from modelforge.compute.kernels.use import name_kernels, used_kernels
from modelforge.errors import DiskFullError, RunawayError, is_disk_full
from modelforge.models.folder import only_own_adapter
from modelforge.recipe import Recipe
from modelforge.scores.metrics import rank
from modelforge.store.folders import unfinished
from modelforge.training import checkpoints
from modelforge.training.callback import count_tokens, runaway


class Durable(SavingSteps):
    """For trainers: a checkpoint is written to a temporary folder and renamed when it is complete and on the disk.

    best_step: a checkpoint that is kept in addition to the last one, or None.
    """

    best_step: int | None = None
    _partial = Path()

    def checkpoints_folder(self) -> Path:
        return self._partial

    def write_checkpoint(self, write: Callable[[], None]) -> None:
        place, step = Path(self.args.output_dir), self.state.global_step  # type: ignore[attr-defined]
        self.check_finite_weights()
        target = checkpoints.folder_of(place, step)
        facts = {"step": step, "kernels": name_kernels(used_kernels())}
        with unfinished(place) as self._partial:
            partial = self._partial / target.name
            try:
                write()
                if not checkpoints.is_whole(target):
                    checkpoints.seal(partial, target, facts | {"bytes": _count_bytes(partial)})
            except Exception as error:
                if not is_disk_full(error):
                    raise
                last = checkpoints.find_last(place)
                kept = int(checkpoints.read_facts(last).get("bytes", 0)) if last else 0
                written, free = _count_bytes(partial), shutil.disk_usage(place).free
                raise DiskFullError(needed=max(written, kept), free=free, where=str(place)) from error
        checkpoints.keep_only(place, {step, self.best_step} - {None})

    def check_finite_weights(self) -> None:
        """A checkpoint with NaN weights would replace a good one."""
        for name, part in self.model.named_parameters():  # type: ignore[attr-defined]
            if part.requires_grad and not bool(torch.isfinite(part).all()):
                step = self.state.global_step  # type: ignore[attr-defined]
                raise runaway(f"Training diverged: the weights of {name} are not finite at step {step}.")

    def write_weights(self, folder: str) -> None:
        """Write the weights that are trained, and no others."""
        self.model.save_pretrained(folder, **only_own_adapter(self.model))  # type: ignore[attr-defined]

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write none: a model gets its card when it is pushed."""


def _count_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class BestCallback(TrainerCallback):
    """Keeps the weights that did best on the held-out rows, and stops when there is no more improvement.

    measured: step -> metrics, updated by the caller. patience: evaluations without improvement before it stops; 0 for
    no limit.
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
        """The earliest step at which the main metric was best; the evaluation before training does not count."""
        steps = sorted(step for step in self.measured if step)
        return max(steps, key=lambda step: rank(self.measured[step]), default=None)


class MissedMeasurement(TrainerCallback):
    """Runs an evaluation that a pause left out: before the first step, but after the random state is restored, which
    evaluating changes."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer is not None:
            trainer, self.trainer = self.trainer, None
            trainer.evaluate()


class SavingCallback(TrainerCallback):
    """Requests a checkpoint after that many seconds or steps, and when the run must pause."""

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
            control.should_evaluate = False  # it is made up for when the run resumes
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
    """Add the callbacks that save as the recipe says. measured: as for `BestCallback`."""
    keep = recipe.load_best_model_at_end
    trainer.add_callback(BestCallback(trainer, measured, keep=keep, patience=recipe.early_stopping_patience))
    trainer.add_callback(
        SavingCallback(emit, seconds=recipe.checkpoint_minutes * 60, steps=recipe.save_steps, is_pausing=is_pausing)
    )


def train_from(trainer: Any, checkpoint: Path | None) -> None:
    """Train from the start, or from a checkpoint with the same batches and random numbers as if never interrupted."""
    if checkpoint is None:
        trainer.train()
        return
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    restore_token_count(trainer, count_tokens(state))
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
    trainer.load_weights(checkpoint)
    trainer.load_random_state(checkpoint)
    trainer.state = state
    trainer.callback_handler.on_train_begin(trainer.args, state, trainer.control)


def pause(trainer: Any) -> None:
    """Save a run that was interrupted, unless its last step is already saved."""
    step = trainer.state.global_step
    if step and not checkpoints.is_whole(checkpoints.folder_of(Path(trainer.args.output_dir), step)):
        trainer.save_checkpoint()


def load_best(trainer: Any, error: RunawayError | None) -> int:
    """Load the best weights, or the last good ones if the run ended with an error. Returns their step. Raises the error
    if there are none."""
    place, step = Path(trainer.args.output_dir), trainer.state.global_step
    if error:
        last = checkpoints.find_last(place)
        if last is None:
            raise error
        trainer.load_weights(last)
        return checkpoints.step_of(last)
    best = trainer.best_step
    if best in (None, step) or not checkpoints.is_whole(checkpoints.folder_of(place, best)):
        return int(step)
    trainer.load_weights(checkpoints.folder_of(place, best))
    return int(best)
