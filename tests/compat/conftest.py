"""Trainers to take apart."""

from __future__ import annotations

from tests.trainers import build

__all__ = ["build"]
