"""Settings of a single training method. Names are those of TRL's DPOConfig and GRPOConfig."""

from __future__ import annotations

from functools import partial
from typing import Literal

from modelforge.recipe.rewards import Rewards
from modelforge.recipe.settings import Settings, setting

dpo, grpo = partial(setting, group="dpo"), partial(setting, group="grpo")


class Dpo(Settings):
    """Direct preference optimisation (arXiv 2305.18290): the better answer becomes more likely than the worse one."""

    beta: float = dpo(0.1, "How close the model stays to the one it started from: higher changes it less.", gt=0, le=10)
    loss_type: Literal[
        "sigmoid", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "apo_zero", "apo_down",
        "sigmoid_norm",
    ] = dpo("sigmoid", "Form of the loss; sigmoid is the published method.")  # fmt: skip
    label_smoothing: float = dpo(
        0.0, "Share of pairs whose answers may be swapped; for the losses robust and exo_pair.", ge=0, lt=0.5
    )


class Grpo(Settings):
    """Group relative policy optimisation (arXiv 2402.03300): of several answers, those with a higher reward become more
    likely."""

    num_generations: int = grpo(
        4, "Answers generated for each prompt and compared with each other.", unit="answers", ge=2, le=64
    )
    max_completion_length: int = grpo(64, "Longest answer generated during training.", unit="tokens", ge=4, le=8192)
    temperature: float = grpo(1.0, "How much the answers generated during training differ from each other.", gt=0, le=2)
    beta: float = grpo(
        0.0, "How close the model stays to the one it started from; 0 ignores it and needs less memory.", ge=0, le=10
    )
    rewards: Rewards = grpo((), "The rewards, each with its weight; an answer earns their sum.")
