"""How long a run takes: its steps, and what it does besides, which short runs spend most of their time on."""

from __future__ import annotations

import math
from typing import Any, Literal

from modelforge.compute.compute import Compute
from modelforge.data.split import count_held_out
from modelforge.hardware import DeviceKind, Probe
from modelforge.recipe import Recipe
from modelforge.tasks import TASKS

EFFICIENCY: dict[DeviceKind, float] = {"cpu": 0.45, "mps": 0.4, "cuda": 0.35}
"""Share of a bare matrix product's rate that a whole step reaches: measured on a processor, usual on cards."""
SEQUENCES = {"sft": 1, "dpo": 2, "kto": 1, "grpo": 1}
"""Method -> sequences that are trained for each example of a batch: dpo compares two answers."""
FORWARDS = {"dpo": 1, "kto": 3}
"""Method -> how often as many go forward only: through the reference, and for kto also with mismatched answers."""
SHARE_OF_LENGTH = 0.5  # of max_length, where nothing is known of the rows: most are far shorter

Timing = Literal["guess", "step", "run"]
"""Where the speed is from: the rate of matrix products, steps of a small model of this shape, or an earlier run."""
SPREAD: dict[Timing, tuple[float, float]] = {"guess": (0.4, 3.0), "step": (0.8, 1.3), "run": (0.85, 1.25)}
"""Timing -> the fastest and the slowest that steps may be, as a factor of what is predicted."""

SAMPLED_TOKENS, SAMPLED_TIMES = 48, 10  # of each answer, side by side; after evaluations (`training.samples`), at most
VERDICT_ROWS = 40
GENERAL_TOKENS = 1400  # of general texts and questions, which both sides of a decoder read (`models.forgetting`)
_WRITTEN_SHARES = (0.3, 0.9, 1.0)
"""Of the most tokens that may be written: the fewest, usual, the most. The longest of several answers counts, and a
model that does not know where to stop writes on (fitted to four runs: `docs/performance.md`, *Predicted time*)."""
_WRITING_BYTES: dict[DeviceKind, float] = {"cpu": 10e9, "mps": 60e9, "cuda": 150e9}
"""Bytes of weights read in a second of writing, a token at a time: measured on a processor, usual on cards."""
_WRITING_BYTES_CPU_16_BITS = 4e9  # measured: single rows are slow in bfloat16 even where matrices are fast
_FASTEST_TOKEN_SECONDS = 0.02  # however small the model is
# As `models` has them: rows side by side, tokens of those with their answers, tokens of an answer, and of examples.
_AT_ONCE, _TOKENS_AT_ONCE, _LONGEST_ANSWER, _EXAMPLE_TOKENS = 16, 4096, 512, 1024
_PROMPT_SHARE = 0.5  # of a row's tokens
_SAMPLED, _BESIDE = 3, 0.03  # answers sampled side by side; how much longer a token takes with each one more
_OPENING_BYTES, _STARTING_SECONDS = 500e6, 8.0  # bytes of weights loaded in a second; at most, for the libraries
_SAVE_SECONDS, _SAVE_BYTES = 0.2, 150e6  # a checkpoint, and bytes of it a second, flushed to the disk


def predict_seconds(
    recipe: Recipe,
    compute: Compute,
    *,
    rows: int | None,
    row_tokens: float,
    speed: float,
    timing: Timing,
    weights: int,
    trained: int,
    longest: float = 0.0,
    storing: float = 0.0,
) -> tuple[float, float, float]:
    """(likely, low, high) seconds from the first sampled answer to the verdict; zeros where the rows are not
    counted and max_steps is not set. row_tokens: the mean. speed: tokens a second. weights: bytes. trained: numbers.
    longest: tokens of the longest row; 0: unknown. storing: seconds of computing once what frozen layers make of the
    rows."""
    batches = count_batches(recipe, rows)
    if not batches:
        return 0.0, 0.0, 0.0
    sequences = SEQUENCES[recipe.method]
    training = batches * recipe.per_device_train_batch_size * row_tokens * sequences / speed
    steps = math.ceil(batches / recipe.gradient_accumulation_steps)
    held_out = _held_out(recipe, rows)
    evaluations = math.ceil(steps / math.ceil(steps / recipe.evaluations)) if held_out else 0
    forward = 2 * sequences / _work(recipe, compute)
    evaluating = (1 + evaluations) * held_out * row_tokens * sequences / speed * forward
    if held_out and TASKS[recipe.task].architectures[0] == "decoder":
        evaluating += 2 * GENERAL_TOKENS / speed * forward / sequences
    saves = evaluations * recipe.load_best_model_at_end + (steps // recipe.save_steps if recipe.save_steps else 0)
    saves += int(training / (60 * recipe.checkpoint_minutes))
    saving = saves * (_SAVE_SECONDS + 12 * trained / _SAVE_BYTES)  # 4 bytes each, and two moments
    computing, (fastest, slowest) = storing + training + evaluating, SPREAD[timing]
    times = 2 + min(max(evaluations - 1, 0), SAMPLED_TIMES)  # before, between and after
    written = times * SAMPLED_TOKENS + _verdict_tokens(recipe, held_out, row_tokens, longest)
    few, usual, most = (share * written * _token_seconds(recipe, compute, weights) for share in _WRITTEN_SHARES)
    low, high = fastest * computing + few + saving / 2, slowest * computing + most + saving * 2
    return computing + usual + saving, low, high


def usual_length(longest: int, mean_tokens: float | None) -> int:
    """The length, in tokens, of the rows whose steps are timed: the mean, rounded so that datasets that are alike
    share a measurement."""
    mean = min(mean_tokens or SHARE_OF_LENGTH * longest, longest)
    unit = max(8, 1 << max(int(mean).bit_length() - 4, 0))
    return max(8, min(round(mean / unit) * unit, longest))


def count_batches(recipe: Recipe, rows: int | None) -> int:
    """Batches that go through the model; where the rows are not counted and no max_steps is set, 0."""
    if recipe.max_steps:
        return recipe.max_steps * recipe.gradient_accumulation_steps
    kept = (rows or 0) - (0 if recipe.eval_dataset else _held_out(recipe, rows))
    kept = max(round(kept * recipe.train_share), 1) if kept else 0
    return math.ceil(recipe.num_train_epochs * math.ceil(kept / recipe.per_device_train_batch_size))


def count_passes(recipe: Recipe, rows: int | None) -> float:
    """How many times each row is trained on; 0 where that is not known."""
    if not recipe.max_steps:
        return recipe.num_train_epochs
    once = count_batches(recipe.model_copy(update={"max_steps": 0, "num_train_epochs": 1.0}), rows)
    return count_batches(recipe, rows) / once if once else 0.0


def speed_by_work(recipe: Recipe, compute: Compute, probe: Probe, parameters: int) -> float:
    """Tokens a second, by the rate of matrix products alone: for short rows a third of it is usual."""
    rate = probe.gigaflops.get(compute.dtype, probe.gigaflops["float32"]) * 1e9 * EFFICIENCY[compute.device]
    return rate / (_work(recipe, compute) * max(parameters, 1))


def describe_range(low: float, high: float) -> str:
    """(82, 131) seconds -> "about 80 to 130 s"; "" where nothing is known."""
    if not high:
        return ""
    unit, size = ("s", 1.0) if high < 180 else ("min", 60.0) if high < 3 * 3600 else ("h", 3600.0)
    shortest, longest = (_round(seconds / size) for seconds in (low, high))
    return f"about {longest} {unit}" if shortest == longest else f"about {shortest} to {longest} {unit}"


def predict_baseline(plan: Any, held_out: int, longest: int | None) -> tuple[float, float]:
    """(low, high) seconds of trying the base model on so many held-out rows, as it is and with examples; zeros where
    nothing is known. plan: a `Plan`. longest: tokens of the longest row, where they are known.

    The weights are those of the run, but in float32 on a processor, where writing in 16 bits is slow.
    """
    recipe, compute = plan.recipe, plan.compute
    if not plan.tokens_per_second or not plan.memory or not compute or not held_out:
        return 0.0, 0.0
    forward = plan.tokens_per_second * _work(recipe, compute) / 2  # tokens a second
    mean = plan.mean_tokens or SHARE_OF_LENGTH * recipe.max_length
    reading = held_out * (5 * mean + 2 * min(3 * mean, _EXAMPLE_TOKENS)) / forward  # each loss, each prompt
    weights = plan.memory.weights * (2 if compute.device == "cpu" and compute.weights != "float32" else 1)
    step = max(weights / _WRITING_BYTES[compute.device], _FASTEST_TOKEN_SECONDS) + min(held_out, _AT_ONCE) / forward
    room = min(longest or 2 * mean, _LONGEST_ANSWER)
    writes = "encoder" not in TASKS[recipe.task].architectures and recipe.method != "dpo"
    writing = 2 * math.ceil(held_out / _AT_ONCE) * room * step if writes else 0.0
    fastest, slowest = SPREAD[plan.timing]
    opening = weights / _OPENING_BYTES
    return opening + fastest * (reading + 0.2 * writing), 3 * opening + _STARTING_SECONDS + slowest * (
        reading + writing
    )


def _round(value: float) -> str:
    """To two digits."""
    digits = 1 - math.floor(math.log10(max(value, 1.0)))
    return f"{max(round(value, digits if value >= 10 else 0), 1):.0f}"


def _held_out(recipe: Recipe, rows: int | None) -> float:
    """Rows that are measured with; a dataset for it is not looked at, and counts like a tenth."""
    return (
        (rows or 0) * 0.1 if recipe.eval_dataset else count_held_out(rows or 0, recipe.eval_split, recipe.min_eval_rows)
    )


def _work(recipe: Recipe, compute: Compute) -> int:
    """Operations for each weight and token: 2 forward, 2 backward for the input, and 2 more where the weights are
    trained (Kaplan et al., arXiv 2001.08361, section 2.1); checkpointing goes forward twice, and so do those with a
    reference."""
    work = 4 + (0 if recipe.tuning.has_adapter else 2) + (2 if compute.gradient_checkpointing else 0)
    return work + 2 * FORWARDS.get(recipe.method, 0)


def _verdict_tokens(recipe: Recipe, held_out: float, row_tokens: float, longest: float) -> float:
    """At most, one after the other: `training.verdict` has both sides answer 40 rows, as many side by side as there is
    room for, little slower than one; each may be a quarter longer than the longest of them. Pairs are not answered."""
    if recipe.method == "dpo":
        return 0.0
    prompt = _PROMPT_SHARE * row_tokens
    if "encoder-decoder" in TASKS[recipe.task].architectures:
        answer = min(longest, recipe.max_target_length)
    else:
        answer = 1.25 * max(longest - prompt, 0.0)
    room = min(answer, _LONGEST_ANSWER) or row_tokens
    rows = min(held_out, VERDICT_ROWS)
    at_once = max(min(_AT_ONCE, _TOKENS_AT_ONCE // (prompt + room), rows), 1)
    return 2 * math.ceil(rows / at_once) * room * (1 + _BESIDE * max(at_once - _SAMPLED, 0))


def _token_seconds(recipe: Recipe, compute: Compute, weights: int) -> float:
    """Of one written token; a model that marks answers in a text writes none."""
    if "encoder" in TASKS[recipe.task].architectures:
        return 0.0
    slow = compute.device == "cpu" and compute.dtype != "float32"
    rate = _WRITING_BYTES_CPU_16_BITS if slow else _WRITING_BYTES[compute.device]
    return max(weights / rate, _FASTEST_TOKEN_SECONDS)
