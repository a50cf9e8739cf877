"""A Forge with one finished model in its library."""

from __future__ import annotations

from tests.models.conftest import forge, measured, probed, record, tiny_base

__all__ = ["forge", "measured", "probed", "record", "tiny_base"]
