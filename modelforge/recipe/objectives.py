"""Settings that one training method has and no other. Names are those of TRL's DPOConfig and GRPOConfig."""

from __future__ import annotations

from typing import Literal

from modelforge.recipe.rewards import Rewards
from modelforge.recipe.settings import Settings, setting


class Dpo(Settings):
    """Direct preference optimisation (arXiv 2305.18290): the better answer is made likelier than the worse one."""

    beta: float = setting(
        0.1,
        "How closely the model stays to where it started: higher changes it less.",
        group="dpo",
        gt=0,
        le=10,
    )
    loss_type: Literal[
        "sigmoid", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "apo_zero", "apo_down",
        "sigmoid_norm",
    ] = setting("sigmoid", "The form of the loss; sigmoid is the method as published.", group="dpo")  # fmt: skip
    label_smoothing: float = setting(
        0.0,
        "Share of pairs that may be the wrong way round; for the losses robust and exo_pair.",
        group="dpo",
        ge=0,
        lt=0.5,
    )


class Grpo(Settings):
    """Group relative policy optimisation (arXiv 2402.03300): of several answers the better rewarded become likelier."""

    num_generations: int = setting(
        4, "Answers written to each prompt and compared with each other.", group="grpo", unit="answers", ge=2, le=64
    )
    max_completion_length: int = setting(
        64, "Longest answer that is written while training.", group="grpo", unit="tokens", ge=4, le=8192
    )
    temperature: float = setting(
        1.0, "How much the answers written while training differ from each other.", group="grpo", gt=0, le=2
    )
    beta: float = setting(
        0.0, "Pull back to where the model started; 0 has none and needs less memory.", group="grpo", ge=0, le=10
    )
    rewards: Rewards = setting(
        (), "What earns a reward, each with its weight; the reward of an answer is their sum.", group="grpo"
    )
