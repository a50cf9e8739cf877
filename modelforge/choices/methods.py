"""The training methods. A new one is an entry here and a file in `training/methods/` for each architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One training objective. files: name of an architecture -> the file in `training/methods/` that trains it.
    metrics: what a model is measured with instead of the task's metrics; the first is what a verdict rests on."""

    title: str
    sentence: str
    files: Mapping[str, str]
    metrics: tuple[str, ...] = ()


METHODS = {
    "sft": Method(
        "Examples (SFT)",
        "Learns to answer like your examples.",
        {"decoder": "sft_decoder", "encoder-decoder": "sft_encoder_decoder", "encoder": "sft_encoder"},
    ),
    "dpo": Method(
        "Preferences (DPO)",
        "Learns to prefer the better of two answers.",
        {"decoder": "dpo"},
        ("preference_accuracy", "reward_margin"),
    ),
    "kto": Method(
        "Labelled answers (KTO)",
        "Learns from answers that are labelled good or bad.",
        {"decoder": "kto"},
        ("reward_margin",),
    ),
    "grpo": Method(
        "Rewards (GRPO)", "Learns to write answers that earn rewards.", {"decoder": "grpo"}, ("mean_reward",)
    ),
}
