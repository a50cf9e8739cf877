"""The app's own switch: one served model at a time, by the owner alone."""

from __future__ import annotations

import socket
from typing import Any

import httpx
import pytest

from modelforge import Forge
from modelforge.caller import Caller, acting_as
from modelforge.errors import AccessError, NotFoundError
from modelforge.ui.models.serve import describe_serving, show_serving


@pytest.fixture
def forge(model: Any) -> Forge:
    return Forge()


def test_key_is_shown_once_and_stopping_frees_the_port(forge: Forge, model: Any) -> None:
    server, key = forge.serving.start(model.record.name)
    try:
        assert forge.serving.current is server
        answer = httpx.get(f"{server.address}/models", headers={"Authorization": f"Bearer {key}"})
        assert [each["id"] for each in answer.json()["data"]] == ["Colours", "Colours-base"]
        assert key in repr(describe_serving(server, key))
        assert key not in repr(show_serving(forge))
        assert all(server.address in text for text in server.snippets.values())
        assert not any(key in text for text in server.snippets.values())
    finally:
        forge.serving.stop()
    assert forge.serving.current is None
    with socket.socket() as free:
        assert free.connect_ex(("127.0.0.1", server.port)) != 0


def test_key_of_the_environment_is_used(forge: Forge, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELFORGE_API_KEY", "one-of-my-own")
    server, key = forge.serving.start(model.record.id)
    try:
        assert (server.key, key) == ("one-of-my-own", "")
    finally:
        forge.serving.stop()


def test_only_the_owner_serves(forge: Forge, model: Any) -> None:
    with acting_as(Caller("bert", "bert", is_owner=False)):
        with pytest.raises(AccessError, match="Only the owner"):
            forge.serving.start(model.record.id)
        with pytest.raises(AccessError, match="Only the owner"):
            forge.serving.stop()


def test_model_that_is_not_there_is_a_sentence(forge: Forge) -> None:
    with pytest.raises(NotFoundError, match="no model"):
        forge.serving.start("nothing")
