"""What every test gets: a home of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty MODELFORGE_HOME; nothing of the person who runs the tests is read or written."""
    place = tmp_path / "home"
    monkeypatch.setenv("MODELFORGE_HOME", str(place))
    return place
