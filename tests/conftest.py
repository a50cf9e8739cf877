"""What every test gets: a home of its own; and, for those that ask, one with the starter model in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest

from modelforge import paths, starter
from modelforge.recipe import STARTER


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty MODELFORGE_HOME; nothing of the person who runs the tests is read or written."""
    place = tmp_path / "home"
    monkeypatch.setenv("MODELFORGE_HOME", str(place))
    return place


@pytest.fixture(scope="session")
def starter_cache() -> Path:
    """A folder with the starter model, fetched once for all sessions on this machine.

    It is the cache of the app itself, so that who runs the tests has it for the app too, and the other way round;
    $MODELFORGE_TEST_CACHE names another home to keep it in.
    """
    place = os.environ.get("MODELFORGE_TEST_CACHE") or platformdirs.user_data_dir("ModelForge", appauthor=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELFORGE_HOME", place)
        starter.ensure(STARTER)
        return paths.cache_dir() / "starters"


@pytest.fixture(scope="session")
def make_home(starter_cache: Path) -> Callable[[Path], Path]:
    """make_home(folder) -> a new home in it that has the starter model and nothing else."""

    def make(folder: Path) -> Path:
        home = folder / "home"
        (home / "cache").mkdir(parents=True)
        (home / "cache" / "starters").symlink_to(starter_cache, target_is_directory=True)
        return home

    return make


@pytest.fixture
def home_with_starter(home: Path, make_home: Callable[[Path], Path]) -> Path:
    return make_home(home.parent)
