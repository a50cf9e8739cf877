"""One served model for all tests of a file, on a real port, and the official client that talks to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from modelforge import Forge
from modelforge.serve.server import Server
from tests import tiny
from tests.machine import base as tiny_base
from tests.machine import live_in, measured, probed

__all__ = ["measured", "probed", "tiny_base"]
KEY = "key-of-the-tests"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, measured: Path, tiny_base: Path) -> Iterator[Any]:
    """A handle on a finished model, in a home of its own."""
    with live_in(tmp_path_factory.mktemp("served") / "home", measured):
        forge = Forge()
        yield forge.models[tiny.finish_model(forge, tiny_base).id]


@pytest.fixture
def home(model: Any) -> None:
    """That of the model."""


@pytest.fixture(scope="module")
def server(model: Any) -> Iterator[Server]:
    made = Server(model.playground, model.record, KEY)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=server.address, api_key=KEY, max_retries=0, timeout=60) as made:
        yield made
