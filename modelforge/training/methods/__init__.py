"""The training methods, declared. A new one is a file for each architecture that it trains, and a line here.

Each file offers `make_encoder(tokenizer, recipe, config)`, which turns mapped rows into what its trainer takes, and
`build_trainer(model, tokenizer, examples, *, recipe, compute, folder)`, which builds one trainer. They load torch, so
they are imported when a run needs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from modelforge.architecture import Architecture


@dataclass(frozen=True)
class Method:
    """One training objective. files: name of an architecture that it trains -> the file that does it."""

    name: str
    title: str
    sentence: str
    files: Mapping[str, str]

    def load(self, architecture: Architecture) -> Any:
        """The module that trains that architecture."""
        return import_module(f"{__name__}.{self.files[architecture.name]}")


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            name="sft",
            title="Examples (SFT)",
            sentence="Learns to answer as your examples do.",
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
            sentence="Learns to write what earns a reward.",
            files={"decoder": "grpo"},
        ),
    )
}
