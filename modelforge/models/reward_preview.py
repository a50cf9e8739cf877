"""What the rewards make of a few answers that the model writes before any training, and what is odd about them.

A reward that gives every answer the same teaches nothing, however long the run; here that shows in a minute. How an
answer is scored is in `rewards.py`. Nothing is trained, and how this is shown is up to others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from modelforge.models.sampling import Sampling
from modelforge.recipe.objectives import Grpo
from modelforge.scores.rewards import find_highest, name_rewards, score, total

_SEEDS = 2**31
_SAME = 1e-6  # totals closer than this teach nothing either


@dataclass(frozen=True)
class RewardSample:
    """An answer and what it earns.

    prompt: the last turn of what was asked. reference: "" where the row has none. scores: without weights, 0 to 1, by
    the names of `name_rewards`. total: their weighted sum. highest: the most that total can be. is_cut: the answer was
    as long as answers can be (max_completion_length), so it was probably not at its end.
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
) -> list[RewardSample]:
    """Let the model answer `count` of the mapped rows, evenly chosen, as it would in training; score the answers.

    rows: `{"prompt": [Message], "reference": text (optional)}`. seed: 0 to 2^31 - 1; the same one draws the same.
    The model's mode (train or eval) is as before afterwards.
    """
    rewards = grpo_settings.rewards
    names, highest = name_rewards(rewards), find_highest(rewards)
    samples = []
    was_training = model.training
    model.eval()
    try:
        for index, row in enumerate(_choose_evenly(rows, count)):
            prompt, reference = row["prompt"], row.get("reference") or ""
            answer, is_cut = _write(model, tokenizer, prompt, grpo_settings, (seed + index) % _SEEDS)
            scores = {name: score(reward, answer, reference) for name, reward in zip(names, rewards, strict=True)}
            earned = total(rewards, answer, reference)
            samples.append(RewardSample(prompt[-1]["content"], reference, answer, scores, earned, highest, is_cut))
    finally:
        model.train(was_training)
    return samples


def find_warnings(samples: Sequence[RewardSample]) -> list[str]:
    """Sentences on why a training with these rewards may come to nothing; none where nothing is odd."""
    if not samples:
        return []
    warnings = []
    totals = [sample.total for sample in samples]
    all_answers = f"All {len(samples)} answers" if len(samples) > 1 else "The only answer that was tried"
    if all(sample.total >= sample.highest - _SAME for sample in samples):
        warnings.append(
            f"{all_answers} already earned the most there is ({totals[0]:.2f}): the model does what is rewarded, "
            "and there is little to learn. Ask for more with stricter or further rewards."
        )
    elif len(samples) > 1 and max(totals) - min(totals) < _SAME:
        warnings.append(
            f"{all_answers} earned the same ({totals[0]:.2f}). The training learns from differences between answers, "
            "so there may be nothing to learn from. Take a reward that also gives something for half of it (length, "
            "contains, matches_reference by f1), say in the prompts what is wanted, or raise grpo.temperature."
        )
    if all(sample.is_cut for sample in samples):
        warnings.append(
            f"{all_answers} went on until it was cut off at the longest length allowed, so what earns the reward may "
            "not have come yet. Raise grpo.max_completion_length, or ask for short answers in the prompts."
        )
    return warnings


def _choose_evenly(rows: Sequence[Mapping[str, Any]], count: int) -> Iterator[Mapping[str, Any]]:
    count = min(count, len(rows))
    return (rows[place * len(rows) // count] for place in range(count))


def _write(model: Any, tokenizer: Any, prompt: Sequence[dict[str, str]], grpo: Grpo, seed: int) -> tuple[str, bool]:
    """The answer, and whether it took as many steps of the model as there may be."""
    from modelforge.models.generate import write_answer

    steps = 0

    @contextmanager
    def count_step() -> Iterator[None]:
        nonlocal steps
        steps += 1
        yield

    # top_p as in TRL's GRPOConfig: training draws from all tokens.
    sampling = Sampling.build(
        max_new_tokens=grpo.max_completion_length, temperature=grpo.temperature, top_p=1.0, seed=seed
    )
    answer = "".join(write_answer(model, tokenizer, prompt, sampling, count_step))
    return answer, steps >= grpo.max_completion_length
