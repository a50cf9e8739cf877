"""Finished models of each kind in homes of their own."""

from __future__ import annotations

from tests.serve.conftest import home, measured, model, probed, tiny_base

__all__ = ["home", "measured", "model", "probed", "tiny_base"]
