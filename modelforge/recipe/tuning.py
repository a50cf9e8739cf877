"""Which weights move, and how the frozen ones are stored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from modelforge.recipe.settings import Settings, setting


class Tuning(Settings):
    """Which weights move, and how the frozen ones are stored. Names are those of peft.LoraConfig."""

    type: Literal["lora", "qlora", "full"] = setting(
        "lora",
        "Which weights are trained. lora: small added matrices, not the base model; qlora: the same with the base "
        "model in 4 bits; full: all weights.",
        group="tuning",
    )
    r: int = setting(
        16, "Rank of the added matrices: higher learns more and needs more memory.", group="tuning", ge=1, le=512
    )
    lora_alpha: float = setting(
        32, "Scale of the added matrices, divided by r; twice r is a good choice.", group="tuning", gt=0, le=2048
    )
    lora_dropout: float = setting(
        0.0,
        "Share of adapter inputs dropped during training, against overfitting; 0 is fastest.",
        group="tuning",
        ge=0,
        lt=1,
    )
    target_modules: Annotated[str, Field(min_length=1)] = setting(
        "all-linear",
        "Layers that get an adapter: all-linear, or names separated by commas such as q_proj,v_proj.",
        group="tuning",
    )
    top_layers: int = setting(
        0,
        "Train only this many of the topmost layers, which is faster and learns less; 0 trains all.",
        group="tuning",
        unit="layers",
        ge=0,
        le=1000,
    )
    use_rslora: bool = setting(
        False, "Divide lora_alpha by the square root of r instead of r: more stable at a high r.", group="tuning"
    )
    use_dora: bool = setting(
        False,
        "Learn the magnitude of each weight separately from its direction: slower, sometimes better.",
        group="tuning",
    )

    @field_validator("target_modules", mode="before")
    @classmethod
    def _join_names(cls, value: Any) -> Any:
        return ",".join(value) if isinstance(value, list) and all(isinstance(name, str) for name in value) else value

    @property
    def has_adapter(self) -> bool:
        """Whether an adapter is trained, and the base model's own weights stay as they are."""
        return self.type != "full"
