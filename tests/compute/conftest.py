"""This machine, measured; a tiny base model; trainers to take apart."""

from __future__ import annotations

from tests.machine import base, kernels, measured, probed
from tests.trainers import build

__all__ = ["base", "build", "kernels", "measured", "probed"]
