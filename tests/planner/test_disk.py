"""Too little disk space refuses a start before anything is fetched or written."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelforge import Forge, starter
from modelforge.errors import DiskFullError
from modelforge.planner.disk import RUN_BYTES, check_disk
from modelforge.recipe import STARTER, Recipe
from tests import tiny

NEEDED_FOR_STARTER = RUN_BYTES + starter.STARTERS[STARTER].disk_bytes


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the drive of home have that many bytes left; and nothing be fetched."""

    def set_free(count: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**12, used=0, free=count))
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("something was started"))

    return set_free


@pytest.mark.parametrize("missing", [0, 1])
def test_audit_17_space_for_the_starter_is_asked_for_to_the_byte(free: Callable[[int], None], missing: int) -> None:
    free(NEEDED_FOR_STARTER - missing)
    if not missing:
        check_disk(Recipe())
        return
    with pytest.raises(DiskFullError) as caught:
        check_disk(Recipe())
    assert (caught.value.needed, caught.value.free) == (NEEDED_FOR_STARTER, NEEDED_FOR_STARTER - 1)


def test_audit_17_a_base_model_on_this_machine_needs_less(free: Callable[[int], None], tmp_path: Path) -> None:
    free(RUN_BYTES)
    check_disk(Recipe(base_model=str(tmp_path)))


def test_audit_17_start_is_refused_before_any_download_and_leaves_nothing(
    free: Callable[[int], None], home: Path, tmp_path: Path
) -> None:
    file = tiny.write_rows(tmp_path / "rows.jsonl")
    forge = Forge()
    free(1_000_000)
    with pytest.raises(DiskFullError) as caught:
        forge.runs.start(Recipe(dataset=str(file)))
    assert "needed" in str(caught.value) and "0.00 GB free" in str(caught.value)
    assert forge.runs.all() == [] and forge.datasets.all() == []
    assert not home.exists()


def test_audit_17_starter_is_not_fetched_onto_a_full_disk(free: Callable[[int], None]) -> None:
    free(1_000_000)
    with pytest.raises(DiskFullError) as caught:
        starter.ensure(STARTER)
    assert caught.value.needed == starter.STARTERS[STARTER].disk_bytes


def test_disk_is_asked_where_home_will_be(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    really = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or really(path))
    check_disk(Recipe())
    assert asked == [home.parent]  # home itself does not exist yet
