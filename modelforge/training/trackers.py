"""The numbers of a run to the tracker that its recipe names, by transformers' own callbacks for them.

Nothing leaves the machine unless somebody asked for it outside of the recipe, in the environment: trackio writes into
its folder of this user (TRACKIO_SPACE_ID or TRACKIO_SERVER_URL sends), wandb into the run's folder (WANDB_MODE=online
sends), tensorboard into the run's folder. No rows and no answers are recorded. A tracker that fails costs a warning.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from modelforge.compat.trackio import log_what_it_prints
from modelforge.compat.transformers import OwnSetup
from modelforge.paths import make_folder
from modelforge.recipe import Recipe

log = logging.getLogger("modelforge")

PROJECT = "modelforge"


@contextmanager
def tracked(
    trainer: Any,
    measured: Mapping[int, Mapping[str, float]],
    *,
    recipe: Recipe,
    run_id: str,
    folder: Path,
    emit: Callable[..., None],
) -> Iterator[None]:
    """In the block the trainer's numbers are recorded, if the recipe says where. measured: step -> metrics, as
    `EventCallback` updates it. folder: the run's."""
    if recipe.report_to == "none":
        yield
        return
    make = _MAKERS[recipe.report_to]
    callback = TrackerCallback(lambda step: make(recipe, run_id, folder, step), measured, recipe.report_to, emit)
    trainer.add_callback(callback)
    try:
        yield
    finally:
        callback.close(trainer)


class TrackerCallback(TrainerCallback):
    """Passes on what the feed shows: loss, learning rate and so on of each step, metrics of each evaluation. After a
    failure it passes on nothing more."""

    def __init__(
        self,
        make: Callable[[int], TrainerCallback],
        measured: Mapping[int, Mapping[str, float]],
        name: str,
        emit: Callable[..., None],
    ) -> None:
        self._make = make
        self._measured = measured
        self._name = name
        self._emit = emit
        self._tracker: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        with self._guard():
            self._tracker = self._make(state.global_step)
            self._tracker.on_train_begin(args, state, control, **kwargs)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if "loss" in (logs or {}):
            self._pass_on(args, state, control, logs or {}, kwargs)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        metrics = self._measured.get(state.global_step, {})
        kwargs.pop("metrics", None)
        if metrics:
            self._pass_on(args, state, control, {f"eval_{name}": value for name, value in metrics.items()}, kwargs)

    def close(self, trainer: Any) -> None:
        """At the end of the run, also of one that was left before the end of its training."""
        with self._guard():
            if self._tracker:
                self._tracker.on_train_end(trainer.args, trainer.state, trainer.control, model=trainer.model)

    def _pass_on(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], more: Mapping[str, Any]) -> None:
        with self._guard():
            if self._tracker:
                self._tracker.on_log(args, state, control, logs=dict(logs), **more)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._tracker = None
            log.exception("%s failed", self._name)
            what = f"{self._name} failed and records nothing more of this run: {type(error).__name__}: {error}"
            self._emit("warning", message=what)


def _make_trackio(recipe: Recipe, run_id: str, folder: Path, step: int) -> TrainerCallback:
    import trackio
    from transformers.integrations import TrackioCallback

    log_what_it_prints()

    class Tracker(OwnSetup, TrackioCallback):
        def begin(self) -> None:
            """With the recipe as its settings and no measurements of the machine."""
            trackio.init(
                project=PROJECT,
                name=_name(recipe, run_id),
                resume="allow",
                config=recipe.model_dump(mode="json"),
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )

    return Tracker()


def _make_wandb(recipe: Recipe, run_id: str, folder: Path, step: int) -> TrainerCallback:
    import wandb
    from transformers.integrations import WandbCallback

    class Tracker(OwnSetup, WandbCallback):
        def begin(self) -> None:
            wandb.init(
                project=PROJECT,
                id=run_id,
                name=_name(recipe, run_id),
                resume="allow",
                dir=str(make_folder(folder / "wandb")),
                mode=os.environ.get("WANDB_MODE", "offline"),
                config=recipe.model_dump(mode="json"),
                settings=wandb.Settings(console="off", silent=True, save_code=False, disable_git=True),
            )
            wandb.define_metric("train/global_step")
            wandb.define_metric("*", step_metric="train/global_step", step_sync=True)

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            wandb.finish()

    return Tracker()


def _make_tensorboard(recipe: Recipe, run_id: str, folder: Path, step: int) -> TrainerCallback:
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    # Steps that a resumed run trains again replace those from before.
    writer = SummaryWriter(log_dir=str(make_folder(folder / "tensorboard")), purge_step=step + 1 if step else None)
    return TensorBoardCallback(writer)


def _name(recipe: Recipe, run_id: str) -> str:
    return f"{recipe.name or 'run'} {run_id}"


_MAKERS: dict[str, Callable[[Recipe, str, Path, int], TrainerCallback]] = {
    "trackio": _make_trackio,
    "wandb": _make_wandb,
    "tensorboard": _make_tensorboard,
}
"""A tracker -> its callback, made when training begins; step: after which a resumed run goes on."""
