"""How each method trains, a file for each architecture; `choices/methods.py` declares which methods exist.

Each file offers `make_encoder(tokenizer, recipe, config)`, which turns mapped rows into what its trainer takes,
`build_trainer(model, tokenizer, examples, *, recipe, compute, folder)`, which builds one trainer, and
`read_metrics(metrics)`. They load torch, so they are imported when a run needs them.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from modelforge.architecture import Architecture
from modelforge.choices.methods import METHODS


def load_method(name: str, architecture: Architecture) -> Any:
    """The module that trains that architecture with that method."""
    return import_module(f"{__name__}.{METHODS[name].files[architecture.name]}")
