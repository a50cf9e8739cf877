"""A Forge with finished tiny models that llama.cpp knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge
from tests import tiny
from tests.gguf.conftest import home_with_converter, known_base
from tests.machine import base as tiny_base
from tests.machine import measured, probed

__all__ = ["home_with_converter", "known_base", "measured", "probed", "tiny_base"]


@pytest.fixture
def forge(probed: Path, converter_cache: Path) -> Forge:
    (probed / "cache" / "converters").symlink_to(converter_cache, target_is_directory=True)
    return Forge()


@pytest.fixture
def record(forge: Forge, known_base: Path) -> Any:
    """A model whose tokenizer llama.cpp knows."""
    return tiny.finish_model(forge, known_base)
