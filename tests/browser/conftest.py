"""Chromium, homes with the starter model and a finished model in them, and pages that are watched."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from modelforge import starter
from modelforge.recipe import STARTER
from tests import tiny
from tests.browser.chromium import MISSING, find_chromium
from tests.browser.drive import CHROMIUM_OPTIONS, App, Witness, environment_of, open_app
from tests.machine import measured
from tests.programs import WITHOUT_A_PLAN, Programs

__all__ = ["measured"]

COLOURS = ("amber", "violet", "teal", "scarlet", "ivory", "indigo")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(1200))  # a busy machine is many times slower
            if find_chromium() is None:
                item.add_marker(pytest.mark.skip(MISSING))


@pytest.fixture(scope="session")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """Where apps come from that need not be opened from nothing; see `tests.programs`."""
    with Programs("gradio", environment=environment_of(tmp_path_factory.mktemp("apps"))) as made:
        yield made


@pytest.fixture(scope="session")
def small_starter(tmp_path_factory: pytest.TempPathFactory, starter_cache: Path) -> Path:
    """What `starter_cache` has, but of the decoder only two narrow layers: the same tokenizer and the same config
    otherwise, so that pages are as they are with the starter, and runs are over in seconds."""
    place = tmp_path_factory.mktemp("small") / "starters"
    shutil.copytree(starter_cache, place, ignore=shutil.ignore_patterns("*.safetensors", "*.lock"))
    for weights in starter_cache.glob("all-*/*.safetensors"):
        (place / weights.parent.name / weights.name).symlink_to(weights)
    tiny.shrink(place / starter.folder(STARTER).name)
    return place


@pytest.fixture(scope="session")
def make_small_home(small_starter: Path, measured: Path) -> Callable[[Path], Path]:
    """make_small_home(folder) -> a new home in it, with the small starter, on a machine that has been measured."""

    def make(folder: Path) -> Path:
        home = folder / "home"
        shutil.copytree(measured, home / "cache")
        (home / "cache" / "starters").symlink_to(small_starter, target_is_directory=True)
        return home

    return make


@pytest.fixture
def small_home(tmp_path: Path, make_small_home: Callable[[Path], Path]) -> Path:
    return make_small_home(tmp_path / "small")


@pytest.fixture(scope="session")
def trained_home(
    tmp_path_factory: pytest.TempPathFactory, make_small_home: Callable[[Path], Path], apps: Programs
) -> Path:
    """A home with one finished run of two steps and its model. Not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    home = make_small_home(folder)
    rows = [{"prompt": f"Which colour is door {colour}?", "response": f"It is {colour}."} for colour in COLOURS]
    (folder / "doors.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe = "name: Door colours\ndataset: doors.jsonl\nmax_steps: 2\nevaluations: 1\neval_split: 0.2\nmax_length: 64\n"
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    done = apps.run(WITHOUT_A_PLAN, "train", folder / "recipe.yaml", "--json", env=environment_of(home))
    assert done.returncode == 0, done.stderr
    return home


@pytest.fixture(scope="session")
def app(trained_home: Path, apps: Programs) -> Iterator[App]:
    """The app with a finished model, to be looked at and not to be changed."""
    with open_app(trained_home, programs=apps) as opened:
        yield opened


@pytest.fixture
def fresh_app(home_with_starter: Path) -> Iterator[App]:
    """The app as somebody has it who opens it for the first time."""
    with open_app(home_with_starter) as opened:
        yield opened


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def witness(chromium: Browser) -> Iterator[Witness]:
    """Opens pages; at the end no request may have left the machine, and no page may have said an error."""
    watching = Witness(chromium)
    yield watching
    watching.close()


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Where pictures of the pages are kept: $MODELFORGE_ARTIFACTS, else artifacts/screenshots."""
    place = os.environ.get("MODELFORGE_ARTIFACTS")
    folder = Path(place) if place else Path(__file__).parents[2] / "artifacts" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
