"""The training objectives, one file each: every entry builds one trainer. A new method is a file and a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modelforge.training.methods import sft

METHODS: dict[str, Callable[..., Any]] = {"sft": sft.build_trainer}
