"""What the browser is told of handlers."""

from __future__ import annotations

from typing import Any

import pytest

from modelforge import Forge
from modelforge.ui.access import decide_access
from modelforge.ui.app import build


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELFORGE_HOME", str(tmp_path_factory.mktemp("home")))
        page = build(Forge(), decide_access(environment={}))
        return list(page.get_config_file()["dependencies"])


def test_a_handler_without_progress_leaves_no_status_that_the_browser_looks_after(told: list[dict[str, Any]]) -> None:
    handlers = [each for each in told if each["backend_fn"]]
    hidden = [each for each in handlers if each["show_progress"] == "hidden"]
    assert len(hidden) > 100
    kept = {number for each in hidden for number in each["show_progress_on"]}
    assert len(kept) == 1, "only the chat shows dots until the first word of an answer"
    assert len(handlers) - len(hidden) < 10
