"""A Forge with one finished model in its library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge
from tests import tiny
from tests.machine import base as tiny_base
from tests.machine import measured, probed

__all__ = ["measured", "probed", "tiny_base"]


@pytest.fixture
def forge(probed: Path) -> Forge:
    return Forge()


@pytest.fixture
def record(forge: Forge, tiny_base: Path) -> Any:
    return tiny.finish_model(forge, tiny_base)
