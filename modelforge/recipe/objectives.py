"""Settings of a single training method. Names are those of TRL's DPOConfig and GRPOConfig."""

from __future__ import annotations

from typing import Literal

from modelforge.recipe.rewards import Rewards
from modelforge.recipe.settings import Settings, setting


class Dpo(Settings):
    """Direct preference optimisation (arXiv 2305.18290): the better answer becomes more likely than the worse one."""

    beta: float = setting(
        0.1,
        "How close the model stays to the one it started from: higher changes it less.",
        group="dpo",
        gt=0,
        le=10,
    )
    loss_type: Literal[
        "sigmoid", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "apo_zero", "apo_down",
        "sigmoid_norm",
    ] = setting("sigmoid", "Form of the loss; sigmoid is the published method.", group="dpo")  # fmt: skip
    label_smoothing: float = setting(
        0.0,
        "Share of pairs whose answers may be swapped; for the losses robust and exo_pair.",
        group="dpo",
        ge=0,
        lt=0.5,
    )


class Grpo(Settings):
    """Group relative policy optimisation (arXiv 2402.03300): of several answers, those with a higher reward become more
    likely."""

    num_generations: int = setting(
        4, "Answers generated for each prompt and compared with each other.", group="grpo", unit="answers", ge=2, le=64
    )
    max_completion_length: int = setting(
        64, "Longest answer generated during training.", group="grpo", unit="tokens", ge=4, le=8192
    )
    temperature: float = setting(
        1.0, "How much the answers generated during training differ from each other.", group="grpo", gt=0, le=2
    )
    beta: float = setting(
        0.0,
        "How close the model stays to the one it started from; 0 ignores it and needs less memory.",
        group="grpo",
        ge=0,
        le=10,
    )
    rewards: Rewards = setting((), "The rewards, each with its weight; an answer earns their sum.", group="grpo")
