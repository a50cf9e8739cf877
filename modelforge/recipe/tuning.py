"""Which weights move, and how the frozen ones are stored."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from modelforge.recipe.settings import Settings, setting

tuning = partial(setting, group="tuning")


class Tuning(Settings):
    """Which weights move, and how the frozen ones are stored. Names are those of peft.LoraConfig."""

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
        "Train only this many of the topmost layers, which is faster and learns less; 0 trains all.",
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
