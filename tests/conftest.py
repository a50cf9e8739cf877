"""What every test gets: a home of its own; and, for those that ask, one with the starter model in it.

At the end of a run, one line says what was left out.
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from modelforge import forge, paths, starter
from modelforge.gguf import ensure_converter
from modelforge.recipe import STARTER
from modelforge.threads import share_processor
from tests.programs import Programs

share_processor()  # as in the app, which the tests are most of; two workers that spin take turns instead of halves

# ---- what was left out -----------------------------------------------------------------------------------------

LEFT_OUT = {
    "slow": "{} slow tests (make test-slow)",
    "slow browser": "{} slow browser tests (make test-browser)",
}


class LeftOut:
    """Counts the slow tests that were not chosen. With several workers each of them counts the same ones."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        slow = [item for item in items if item.get_closest_marker("slow")]
        self.counts.update("slow browser" if item.get_closest_marker("browser") else "slow" for item in slow)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["left_out"] = dict(self.counts)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.counts |= Counter(getattr(node, "workeroutput", {}).get("left_out", {}))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        skipped = Counter(
            (report.longrepr[2].removeprefix("Skipped: "), "browser" in report.keywords)
            for report in terminalreporter.stats.get("skipped", ())
        )
        parts = [text.format(self.counts[kind]) for kind, text in LEFT_OUT.items() if self.counts[kind]]
        parts += [f"{count} {'browser ' * of_browser}tests ({why})" for (why, of_browser), count in skipped.items()]
        if parts:
            terminalreporter.write_line(f"Left out: {', '.join(parts)}")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(LeftOut())


def pytest_collection_finish() -> None:
    """Every training collects garbage, which takes half a second among a million objects of libraries that stay."""
    gc.collect()
    gc.freeze()


# ---- fixtures --------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty MODELFORGE_HOME; nothing of the person who runs the tests is read or written."""
    place = tmp_path / "home"
    monkeypatch.setenv("MODELFORGE_HOME", str(place))
    return place


@pytest.fixture(autouse=True)
def fresh_forge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is a process of its own as far as the Forge of the commands goes."""
    monkeypatch.setattr(forge, "_shared", None)


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
def converter_cache() -> Path:
    """A folder with the converter for GGUF, fetched once, in the same home."""
    place = os.environ.get("MODELFORGE_TEST_CACHE") or platformdirs.user_data_dir("ModelForge", appauthor=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELFORGE_HOME", place)
        return ensure_converter().parent


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


@pytest.fixture(scope="session")
def programs() -> Iterator[Programs]:
    """Starts programs in processes of their own; see there."""
    with Programs() as made:
        yield made
