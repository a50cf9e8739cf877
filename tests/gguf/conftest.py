"""A home with the converter, and a tiny model that the converter knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import tiny


@pytest.fixture
def home_with_converter(home: Path, converter_cache: Path) -> Path:
    (home / "cache").mkdir(parents=True)
    (home / "cache" / "converters").symlink_to(converter_cache, target_is_directory=True)
    return home


@pytest.fixture(scope="session")
def known_base(tmp_path_factory: pytest.TempPathFactory, starter_cache: Path) -> Path:
    """The folder of a tiny base model with the starter's tokenizer; nobody may change it."""
    return tiny.write_known_base(tmp_path_factory.mktemp("known") / "tiny", starter_cache)
