"""A Forge with one finished model in its library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge
from tests import tiny
from tests.machine import base as tiny_base
from tests.machine import live_in, measured, probed

__all__ = ["measured", "probed", "tiny_base"]


@pytest.fixture
def forge(probed: Path) -> Forge:
    return Forge()


@pytest.fixture
def record(forge: Forge, tiny_base: Path) -> Any:
    return tiny.finish_model(forge, tiny_base)


@pytest.fixture(scope="module")
def shared_forge(tmp_path_factory: pytest.TempPathFactory, measured: Path) -> Iterator[Forge]:
    """One for all tests of a file. They override `home` to live in its home, and only look at what it trained."""
    with live_in(tmp_path_factory.mktemp("shared") / "home", measured):
        yield Forge()
