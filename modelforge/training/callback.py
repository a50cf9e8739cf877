"""The trainer's logs and evaluations as events, and how training is stopped.

Checkpoints, and which weights are kept, are in `saving.py`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from transformers import TrainerCallback

from modelforge.compute import memory
from modelforge.errors import RunawayError

_METHOD_LOGS = {"reward_margin": "rewards/margins", "reward": "reward", "reward_std": "reward_std"}
"""What some methods log besides the loss: our name -> TRL's."""


class RunStopped(Exception):  # noqa: N818 - not an error: Stop or Pause was pressed
    """Raised inside the trainer to leave an evaluation early."""


class EventCallback(TrainerCallback):
    """Emits `progress` and `evaluated` events, and checks the stop flag after every step."""

    def __init__(
        self,
        emit: Callable[..., None],
        is_stopping: Callable[[], bool],
        device: str,
        read_metrics: Callable[[Mapping[str, float]], dict[str, float]],
    ) -> None:
        self.emit = emit
        self.read_metrics = read_metrics
        self.is_stopping = is_stopping
        self.device = device
        self.measured: dict[int, dict[str, float]] = {}  # step -> metrics of the evaluation after it
        self._clock: float | None = None  # when this process started its first step
        self.first_step = self._tokens_before = 0  # what an earlier process of this run has trained
        self.tokens_per_second = 0.0
        self._measuring = 0.0  # seconds spent on evaluations and answers, which do not count as training time

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.first_step = state.global_step
        for entry in state.log_history:
            if "eval_loss" in entry:
                self.measured[entry["step"]] = self.read_metrics(entry)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._clock is None:
            self._clock, self._measuring = time.monotonic(), 0.0
            self._tokens_before = count_tokens(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.is_stopping():
            control.should_training_stop = True

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.is_stopping():
            raise RunStopped

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs:
            return
        _drop_old_logs(state)
        loss = float(logs["loss"])
        seconds = max(time.monotonic() - (self._clock or 0.0) - self._measuring, 1e-6)
        tokens = int(logs.get("num_tokens") or state.num_input_tokens_seen)  # TRL's count, or transformers'
        step, total = state.global_step, state.max_steps
        self.tokens_per_second = round((tokens - self._tokens_before) / seconds, 1)
        more = {name: float(logs[theirs]) for name, theirs in _METHOD_LOGS.items() if logs.get(theirs) is not None}
        self.emit(
            "progress",
            step=step,
            total_steps=total,
            epoch=round(float(logs.get("epoch", 0.0)), 3),
            loss=loss if math.isfinite(loss) else None,
            learning_rate=float(logs.get("learning_rate", 0.0)),
            tokens=tokens,
            tokens_per_second=self.tokens_per_second,
            eta_seconds=round(seconds / max(step - self.first_step, 1) * (total - step), 1),
            seconds=round(seconds, 1),
            memory_bytes=memory.used_bytes(self.device),
            **more,
        )
        _refuse_infinite(loss, step)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        metrics = metrics or {}
        if "eval_loss" not in metrics:
            return
        self.leave_out(float(metrics.get("eval_runtime", 0.0)))
        _refuse_infinite(float(metrics["eval_loss"]), state.global_step)
        measured = self.read_metrics(metrics)
        self.measured[state.global_step] = measured
        self.emit(
            "evaluated", step=state.global_step, total_steps=state.max_steps, eval_loss=measured["loss"], **measured
        )

    def leave_out(self, seconds: float) -> None:
        """Do not count these as training time."""
        self._measuring += seconds

    def finish(self, trainer: Any) -> None:
        """Evaluate the last step if that has not been done and anything is held out."""
        if trainer.eval_dataset is not None and trainer.state.global_step not in self.measured:
            trainer.evaluate()

    def metrics(self, step: int, *, has_parent: bool) -> dict[str, dict[str, float]]:
        """before: what this run started from; tuned: after `step`; each only if it was evaluated there. base: the
        untrained base model, which is what a run without a parent started from."""
        at = {"before": 0, "tuned": step} | ({} if has_parent else {"base": 0})
        return {name: self.measured[step] for name, step in at.items() if step in self.measured}


def count_tokens(state: Any) -> int:
    """Tokens trained on so far, from a trainer's state: TRL's count, or transformers'."""
    counts = [entry["num_tokens"] for entry in state.log_history if "num_tokens" in entry]
    return int(counts[-1] if counts else state.num_input_tokens_seen)


def _drop_old_logs(state: Any) -> None:
    """Keep the evaluations and the newest step in a trainer's log history. Every step is an event already, and a run of
    a million steps would hold them all in memory and write them into each checkpoint."""
    *before, newest = state.log_history
    state.log_history[:] = [*(entry for entry in before if "eval_loss" in entry), newest]


def _refuse_infinite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise runaway(f"Training diverged: the loss became {loss} at step {step}.")


def runaway(what: str) -> RunawayError:
    """The error, with its likely causes."""
    return RunawayError(
        what,
        where="setting learning_rate",
        fix="Likely causes: learning_rate is too high (try a third of it); float16 overflows (set dtype to float32); "
        "an example is unusual (check the longest and the shortest in the Dataset tab).",
    )
