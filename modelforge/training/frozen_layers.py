"""For runs that train only the topmost layers of a decoder: each row goes through the frozen layers once, not in every
epoch and evaluation.

The values are those of the plain computation up to rounding. Where the result cannot be stored, the run computes it
each time, and a warning says why.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from modelforge.compute.decoders.frozen_layers import Cut, compute_below, continued, find_cut, find_problem, is_output
from modelforge.compute.kernels.use import name_kernels, used_kernels
from modelforge.errors import DiskFullError, StoreError
from modelforge.training import stored_output
from modelforge.training.batching import RightPadding
from modelforge.training.stored_output import Progress, Rows, StoredOutput

log = logging.getLogger("modelforge")

BATCH_TOKENS = 2048  # at once, where a batch of the longest rows has more
_BELOW = "below"


class StartsAtCut:
    """For trainers of decoders whose loss starts from hidden states, if `fused`: the decoder continues from what is
    stored of a batch, where the batch has it. cut: None unless something is stored."""

    model: Any
    fused = False
    cut: Cut | None = None

    def continued(self, inputs: Any) -> contextlib.AbstractContextManager[None]:
        return continued(self.cut, inputs.get(_BELOW))


class StoredPadding(RightPadding):
    """The same batches, with what is stored of their rows (B, T, D)."""

    def __init__(self, plain: RightPadding, stored: StoredOutput) -> None:
        super().__init__(plain.pad_token_id, plain.multiple)
        self.stored = stored

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        below = self.stored.gather([row["input_ids"] for row in rows], self.find_width(rows))
        return {**super().__call__(rows), _BELOW: below}


@contextlib.contextmanager
def stored_frozen_layers(trainer: Any, emit: Callable[..., None], leave: Callable[[], None]) -> Iterator[None]:
    """Let a trainer read what frozen layers make of its rows, where it has such layers and reads rows more than once.

    emit: gets `storing` and `stored` events, or a `warning` with the reason why not. leave: called often meanwhile;
    what it raises ends the run.
    """
    cut = find_cut(trainer.model) if isinstance(trainer, StartsAtCut) and trainer.fused else None
    if cut is None or count_passes(trainer) <= 1:
        yield
        return
    plain, stored = trainer.data_collator, None
    try:
        with trainer.accelerator.autocast():
            stored = _store(trainer, cut, emit, leave)
        if stored:
            trainer.cut, trainer.data_collator = cut, StoredPadding(plain, stored)
        yield
    finally:
        trainer.cut, trainer.data_collator = None, plain
        if stored:
            stored.close()
        stored_output.make_room()


def count_passes(trainer: Any) -> float:
    """How many times each training row is read."""
    args = trainer.args
    if args.max_steps > 0:
        read = args.max_steps * args.train_batch_size * args.gradient_accumulation_steps
        return float(read / len(trainer.train_dataset))
    return float(args.num_train_epochs)


class NotStored(Exception):  # noqa: N818 - no error: the run computes everything each time
    """Why nothing is stored, in words that follow a colon."""


def _store(trainer: Any, cut: Cut, emit: Callable[..., None], leave: Callable[[], None]) -> StoredOutput | None:
    """What is stored of all rows, computed now unless it is there; None with a warning where that is not possible."""
    began = time.monotonic()
    rows = Rows(row for each in (trainer.train_dataset, trainer.eval_dataset) if each for row in each["input_ids"])
    try:
        stored, needed, was_stored = _open(trainer, cut, rows, Progress(emit, leave))
    except NotStored as reason:
        every = f"The lower {len(cut.lower)} layers are computed in every epoch, not once"
        emit("warning", message=f"{every}: {reason}.")
        return None
    numbers = {"layers": len(cut.lower), "rows": len(rows.rows), "tokens": rows.tokens, "bytes": needed}
    emit("stored", **numbers, seconds=round(time.monotonic() - began, 1), reused=was_stored)
    return stored


def _open(trainer: Any, cut: Cut, rows: Rows, progress: Progress) -> tuple[StoredOutput, int, bool]:
    """(the stored output, its bytes, whether it was there before). Raises NotStored."""
    device, batch_size = trainer.accelerator.device, trainer.args.train_batch_size
    padding = RightPadding(trainer.data_collator.pad_token_id)

    def make_batch(batch: Sequence[Sequence[int]]) -> Any:
        padded = padding([{"input_ids": list(row), "labels": []} for row in batch])
        return padded["input_ids"].to(device)

    shortest, usual, longest = rows.rows[0], rows.rows[len(rows.rows) // 2], rows.rows[-1]
    sample = _try_out(cut, make_batch([usual]))
    needed = stored_output.count_bytes(rows, sample)
    computing = f"{sample.dtype} {trainer.args.bf16} {device.type} {name_kernels(used_kernels())}".rstrip()
    path = stored_output.name_file(cut, rows, computing=computing)

    def is_right() -> bool:
        with contextlib.closing(StoredOutput(path, rows, sample)) as stored:
            tried = (shortest, usual, longest)
            return all(is_output(cut, make_batch([row]), stored.gather([row], len(row)).to(device)) for row in tried)

    try:
        was_stored = stored_output.is_stored(path, needed) and is_right()
        if not was_stored:
            stored_output.make_room(kept=path)
            if obstacle := stored_output.find_obstacle(needed):
                raise NotStored(obstacle)
            most_tokens = max(min(BATCH_TOKENS, batch_size * len(longest)), len(longest))
            stored_output.write_output(path, cut, rows, make_batch, most_tokens=most_tokens, watch=progress)
            if not is_right():
                raise NotStored("rows give other numbers beside others than alone")
        return StoredOutput(path, rows, sample), needed, was_stored
    except (OSError, StoreError, DiskFullError) as error:
        raise NotStored(f"the result could not be stored ({error})") from error


def _try_out(cut: Cut, input_ids: Any) -> Any:
    """What the frozen layers make of token ids (B, T) -> (B, T, D). Raises NotStored."""
    try:
        if problem := find_problem(cut, input_ids):
            raise NotStored(problem)
        return compute_below(cut, input_ids)
    except (TypeError, ValueError, RuntimeError, LookupError, AttributeError) as error:  # an architecture unlike others
        log.warning("The frozen layers cannot be computed separately", exc_info=True)
        raise NotStored(f"they cannot be computed separately ({type(error).__name__}: {error})") from error
