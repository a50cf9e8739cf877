"""Fixtures for tests that train or chat: this machine, measured once, and a tiny base model, written once.

Import what is needed into a conftest.py or a test file.
"""

from __future__ import annotations

import gc
import shutil
from pathlib import Path

import pytest

from modelforge import hardware, paths
from modelforge.models.sampling import Sampling
from tests import tiny


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a real probe of this machine; measuring takes a second."""
    import modelforge.training.run  # torch, transformers, trl and peft

    assert modelforge.training.run
    gc.collect()
    gc.freeze()  # each run collects garbage: not among a million objects of libraries
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELFORGE_HOME", str(tmp_path_factory.mktemp("measured")))
        hardware.probe()
        return paths.cache_dir() / "probe.json"


@pytest.fixture
def probed(home: Path, measured: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which this machine has been measured already; the answers shown during runs are short."""
    from modelforge.training import samples

    monkeypatch.setattr(samples, "_SAMPLING", Sampling(max_new_tokens=6))
    target = paths.cache_dir() / "probe.json"
    target.parent.mkdir(parents=True)
    shutil.copy(measured, target)
    return home


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny base model; nobody may change it."""
    return tiny.write_base(tmp_path_factory.mktemp("models") / "tiny")
