"""Previews rewards on a few answers that the model writes before training, and warns where they would teach nothing.

A reward that scores every answer the same teaches nothing, however long the run. How an answer is scored is in
`scores/rewards.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from modelforge.models.sampling import Sampling
from modelforge.recipe.nested import Grpo
from modelforge.scores.rewards import find_highest, name_rewards, score, total

_SEEDS = 2**31
_SAME = 1e-6  # totals closer than this count as equal
Turn = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class RewardSample:
    """An answer and its scores.

    prompt: the last turn of the prompt. reference: "" where the row has none. scores: without weights, 0 to 1, by the
    names of `name_rewards`. total: their weighted sum. highest: the highest possible total. is_cut: the answer reached
    max_completion_length, so it is probably not complete.
    """

    prompt: str
    reference: str
    answer: str
    scores: Mapping[str, float]
    total: float
    highest: float = float("inf")
    is_cut: bool = False


def preview_rewards(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Mapping[str, Any]],
    grpo_settings: Grpo,
    *,
    count: int = 4,
    seed: int = 0,
    turn: Turn = nullcontext,
) -> list[RewardSample]:
    """Let the model answer `count` of the mapped rows, evenly spaced, as it does in training; score the answers.

    rows: `{"prompt": [Message], "reference": text (optional)}`. seed: 0 to 2^31 - 1. turn: entered for each step of the
    model. The model's mode (train or eval) is restored at the end.
    """
    from modelforge.models.evaluate import choose_evenly

    rewards = grpo_settings.rewards
    names, highest = name_rewards(rewards), find_highest(rewards)
    samples = []
    was_training = model.training
    model.eval()
    try:
        for index, row in enumerate(choose_evenly(rows, count)):
            prompt, reference = row["prompt"], row.get("reference") or ""
            answer, is_cut = _write(model, tokenizer, prompt, grpo_settings, (seed + index) % _SEEDS, turn=turn)
            scores = {name: score(reward, answer, reference) for name, reward in zip(names, rewards, strict=True)}
            earned = total(rewards, answer, reference)
            samples.append(RewardSample(prompt[-1]["content"], reference, answer, scores, earned, highest, is_cut))
    finally:
        model.train(was_training)
    return samples


def find_warnings(samples: Sequence[RewardSample]) -> list[str]:
    """Sentences on why training with these rewards may not work; empty where nothing speaks against it."""
    if not samples:
        return []
    warnings = []
    totals = [sample.total for sample in samples]
    all_answers = f"All {len(samples)} answers" if len(samples) > 1 else "The only answer"
    if all(sample.total >= sample.highest - _SAME for sample in samples):
        warnings.append(
            f"{all_answers} already earned the highest reward ({totals[0]:.2f}), so there is little to learn. "
            "Use stricter rewards, or add more."
        )
    elif len(samples) > 1 and max(totals) - min(totals) < _SAME:
        warnings.append(
            f"{all_answers} earned the same reward ({totals[0]:.2f}). Training learns from differences between "
            "answers, so there may be nothing to learn from. Use a reward that gives partial scores (length, contains, "
            "matches_reference by f1), describe in the prompts what you want, or raise grpo.temperature."
        )
    if all(sample.is_cut for sample in samples):
        warnings.append(
            f"{all_answers} reached the maximum length, so the part that earns the reward may be missing. "
            "Raise grpo.max_completion_length, or ask for short answers in the prompts."
        )
    return warnings


def _write(
    model: Any, tokenizer: Any, prompt: Sequence[dict[str, str]], grpo: Grpo, seed: int, *, turn: Turn
) -> tuple[str, bool]:
    """(the answer, whether it reached the maximum length)."""
    from modelforge.models.generate import write_answer

    steps = 0

    @contextmanager
    def count_step() -> Iterator[None]:
        nonlocal steps
        steps += 1
        with turn():
            yield

    # top_p as in TRL's GRPOConfig: training draws from all tokens.
    sampling = Sampling.build(
        max_new_tokens=grpo.max_completion_length, temperature=grpo.temperature, top_p=1.0, seed=seed
    )
    answer = "".join(write_answer(model, tokenizer, prompt, sampling, count_step))
    return answer, steps >= grpo.max_completion_length
