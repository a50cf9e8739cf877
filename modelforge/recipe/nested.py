"""The settings that stand in a group of their own: `tuning`, and those of a single method.

Names are those of peft.LoraConfig, and of TRL's DPOConfig, KTOConfig and GRPOConfig.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from modelforge.recipe.rewards import Rewards
from modelforge.recipe.settings import Settings, setting

tuning, dpo, kto, grpo = (partial(setting, group=group) for group in ("tuning", "dpo", "kto", "grpo"))


class Tuning(Settings):
    """Which weights move, and how the frozen ones are stored."""

    type: Literal["lora", "qlora", "full"] = tuning(
        "lora",
        "Which weights are trained. lora: small added matrices, not the base model; qlora: the same with the base "
        "model in 4 bits; full: all weights.",
    )
    r: int = tuning(16, "Rank of the added matrices: higher learns more and needs more memory.", ge=1, le=512)
    lora_alpha: float = tuning(
        32, "Scale of the added matrices, divided by r; twice r is a good choice.", gt=0, le=2048
    )
    lora_dropout: float = tuning(
        0.0, "Share of adapter inputs dropped during training, against overfitting; 0 is fastest.", ge=0, lt=1
    )
    target_modules: Annotated[str, Field(min_length=1)] = tuning(
        "all-linear", "Layers that get an adapter: all-linear, or names separated by commas such as q_proj,v_proj."
    )
    top_layers: int = tuning(
        0,
        "Train only this many of the topmost layers, which is faster and learns slightly less; 0 trains all. What the "
        "layers below make of the examples is then computed once and kept on disk during the run, where that pays.",
        unit="layers",
        ge=0,
        le=1000,
    )
    use_rslora: bool = tuning(False, "Divide lora_alpha by the square root of r instead of r: more stable at a high r.")
    use_dora: bool = tuning(
        False, "Learn the magnitude of each weight separately from its direction: slower, sometimes better."
    )

    @field_validator("target_modules", mode="before")
    @classmethod
    def _join_names(cls, value: Any) -> Any:
        return ",".join(value) if isinstance(value, list) and all(isinstance(name, str) for name in value) else value

    @property
    def has_adapter(self) -> bool:
        """Whether an adapter is trained, and the base model's own weights stay as they are."""
        return self.type != "full"


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


class Kto(Settings):
    """Kahneman-Tversky optimisation (arXiv 2402.01306): answers labelled good become more likely, bad ones less."""

    beta: float = kto(0.1, "How close the model stays to the one it started from: higher changes it less.", gt=0, le=10)
    desirable_weight: float = kto(
        1.0, "Weight of the good answers; raise it where they are far fewer than the bad ones.", gt=0, le=100
    )
    undesirable_weight: float = kto(
        1.0, "Weight of the bad answers; raise it where they are far fewer than the good ones.", gt=0, le=100
    )
    loss_type: Literal["kto", "apo_zero_unpaired"] = kto(
        "kto", "Form of the loss; kto is the published method, apo_zero_unpaired needs no batches of two or more."
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
