"""Fixtures for tests that train or chat: this machine, measured once, and a tiny base model, written once.

Import what is needed into a conftest.py or a test file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from modelforge import hardware, paths
from modelforge.compute.kernels.build import DEFINED, load_kernels
from tests import tiny


def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run of the tests have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real probe of this machine, and the kernels that were built on it, if any could be; both take
    seconds, so all workers share one."""
    place = share(tmp_path_factory) / "measured"
    with FileLock(f"{place}.lock"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELFORGE_HOME", str(place))
        hardware.probe()  # which writes it down, and reads it where it is
        for dtype in DEFINED:
            load_kernels(dtype)
        return paths.cache_dir()


@pytest.fixture(scope="session")
def kernels(measured: Path) -> dict[str, Any]:
    """The compiled kernels for each number format; skips where there is no compiler."""
    if not shutil.which("g++"):
        pytest.skip("no g++")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELFORGE_HOME", str(measured.parent))
        return {dtype: load_kernels(dtype) for dtype in DEFINED}


@contextlib.contextmanager
def live_in(home: Path, measured: Path) -> Iterator[Path]:
    """Make this the home: a new one, in which this machine has been measured; answers shown during runs are short."""
    from modelforge.training import samples

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELFORGE_HOME", str(home))
        patch.setattr(samples, "ANSWER_TOKENS", 6)
        shutil.copytree(measured, paths.cache_dir(), dirs_exist_ok=True)  # a thread of the test before may come first
        yield home


@pytest.fixture
def probed(home: Path, measured: Path) -> Iterator[Path]:
    """A home of the test's own, as `live_in` makes them."""
    with live_in(home, measured):
        yield home


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny base model; nobody may change it."""
    return tiny.write_base(tmp_path_factory.mktemp("models") / "tiny")
