"""The training methods. A new one is an entry here and a file in `training/methods/` for each architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One training objective. files: name of an architecture -> the file in `training/methods/` that trains it."""

    name: str
    title: str
    sentence: str
    files: Mapping[str, str]


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            name="sft",
            title="Examples (SFT)",
            sentence="Learns to answer like your examples.",
            files={"decoder": "sft_decoder", "encoder-decoder": "sft_encoder_decoder", "encoder": "sft_encoder"},
        ),
        Method(
            name="dpo",
            title="Preferences (DPO)",
            sentence="Learns to prefer the better of two answers.",
            files={"decoder": "dpo"},
        ),
        Method(
            name="grpo",
            title="Rewards (GRPO)",
            sentence="Learns to write answers that earn rewards.",
            files={"decoder": "grpo"},
        ),
    )
}
