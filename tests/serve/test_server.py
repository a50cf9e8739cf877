"""OpenAI's own client against a served model: both names, streams, limits, and each refusal as a sentence."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from modelforge.errors import AccessError, RecipeError
from modelforge.models.sampling import Sampling
from modelforge.serve.app import MOST_AT_ONCE
from modelforge.serve.requests import LARGEST_BODY_BYTES
from modelforge.serve.server import Server, choose_key
from tests.serve.conftest import KEY

ASKED: Any = [{"role": "user", "content": "What colour is the lamp of house 0?"}]
SHORT = Sampling(max_new_tokens=24)


def ask(client: OpenAI, **more: Any) -> Any:
    return client.chat.completions.create(**{"model": "Colours", "messages": ASKED, "max_tokens": 24, **more})


def test_tuned_and_base_are_two_models_that_answer_as_in_the_playground(client: OpenAI, model: Any) -> None:
    assert [each.id for each in client.models.list()] == ["Colours", "Colours-base"]
    assert client.models.retrieve("Colours-base").id == "Colours-base"
    for name, base in (("Colours", False), ("Colours-base", True), (model.record.id, False)):
        answer = ask(client, model=name)
        assert answer.choices[0].message.content == model.chat(ASKED, sampling=SHORT, base=base)
        assert answer.model == name and answer.object == "chat.completion"


def test_answer_says_how_it_ended_and_counts_tokens(client: OpenAI) -> None:
    answer = ask(client, max_tokens=7)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 7
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 7 > 20


def test_stream_is_the_same_answer_in_pieces(client: OpenAI, model: Any) -> None:
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert sum(map(bool, pieces)) > 3
    assert "".join(pieces) == model.chat(ASKED, sampling=SHORT)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] in ("stop", "length")
    assert chunks[-1].usage.completion_tokens > 3
    assert len({chunk.id for chunk in chunks}) == 1


def test_text_is_continued_without_a_template(client: OpenAI, model: Any) -> None:
    said = "The lamp is"
    whole = client.completions.create(model="Colours", prompt=said, max_tokens=9)
    assert whole.choices[0].text == "".join(model.playground.answer(model.record, said, Sampling(max_new_tokens=9)))
    pieces = client.completions.create(model="Colours", prompt=said, max_tokens=9, stream=True)
    assert "".join(chunk.choices[0].text for chunk in pieces) == whole.choices[0].text


def test_answer_ends_before_a_stop_word(client: OpenAI) -> None:
    whole = ask(client).choices[0].message.content
    word = whole[5:8]
    answer = ask(client, stop=[word, "not in it"])
    assert answer.choices[0].message.content == whole[: whole.index(word)]
    assert answer.choices[0].finish_reason == "stop"
    streamed = ask(client, stop=word, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == whole[: whole.index(word)]


def test_same_seed_draws_the_same_answer(client: OpenAI) -> None:
    drawn = [ask(client, temperature=1.2, seed=seed).choices[0].message.content for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_parts_and_developer_messages_are_read(client: OpenAI, model: Any) -> None:
    parts: Any = [{"type": "text", "text": "What colour "}, {"type": "text", "text": "is it?"}]
    found = ask(client, messages=[{"role": "developer", "content": "Rhyme."}, {"role": "user", "content": parts}])
    said = [{"role": "system", "content": "Rhyme."}, {"role": "user", "content": "What colour is it?"}]
    assert found.choices[0].message.content == model.chat(said, sampling=SHORT)


def test_several_clients_at_once_get_their_own_answers(client: OpenAI, model: Any) -> None:
    expected = {name: ask(client, model=name).choices[0].message.content for name in ("Colours", "Colours-base")}
    found: list[tuple[str, str]] = []

    def talk(name: str) -> None:
        found.append((name, ask(client, model=name).choices[0].message.content))

    threads = [threading.Thread(target=talk, args=[name]) for name in (*expected, *expected)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4
    assert all(answer == expected[name] for name, answer in found)


def test_cancelled_stream_frees_its_slot(client: OpenAI) -> None:
    def open_stream() -> Any:
        stream = ask(client, stream=True, max_tokens=480)
        next(stream)
        return stream

    streams = [open_stream() for _ in range(MOST_AT_ONCE)]
    with pytest.raises(openai.RateLimitError, match="as many as there can be at once"):
        ask(client)
    for stream in streams:
        stream.close()
    for _ in range(200):  # until the server has noticed
        try:
            assert ask(client).choices
            break
        except openai.RateLimitError:
            time.sleep(0.05)
    else:
        raise AssertionError("the slots are still taken")


@pytest.mark.parametrize(
    ("more", "error", "sentence"),
    [
        ({"model": "Others"}, openai.NotFoundError, "no model 'Others' here. Ask for 'Colours' or 'Colours-base'"),
        ({"messages": []}, openai.BadRequestError, "at least 1 item"),
        ({"messages": [{"role": "tool", "content": "x"}]}, openai.BadRequestError, "'developer', 'user'"),
        ({"temperature": 9}, openai.BadRequestError, "less than or equal to 2"),
        ({"max_tokens": 0}, openai.BadRequestError, "greater than or equal to 1"),
        ({"n": 2}, openai.BadRequestError, "'n' is not supported here"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, openai.BadRequestError, "'tools' is not"),
        ({"stop": ["x"] * 17}, openai.BadRequestError, "at most 16 items"),
        ({"messages": [{"role": "user", "content": "lamp " * 600}]}, openai.BadRequestError, "reads 512 at once"),
        ({"messages": [{"role": "user", "content": "x" * LARGEST_BODY_BYTES}]}, openai.APIStatusError, "1,000,000 b"),
    ],
)
def test_what_cannot_be_done_is_said(client: OpenAI, more: Any, error: type[Exception], sentence: str) -> None:
    for streamed in (False, True):
        with pytest.raises(error, match=sentence):
            ask(client, stream=streamed, **more)
    assert ask(client, max_tokens=1).choices  # and no slot is lost


def test_prompt_that_is_too_long_has_openais_code(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, messages=[{"role": "user", "content": "lamp " * 600}])
    assert caught.value.code == "context_length_exceeded"


@pytest.mark.parametrize("key", ["wrong", KEY + "x", "é"])
def test_wrong_key_is_refused(server: Server, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}".encode()}
    answer = httpx.get(f"{server.address}/models", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("send", "status"),
    [
        (lambda url, key: httpx.get(f"{url}/models", headers={**key, "Host": "evil.example"}), 403),
        (lambda url, key: httpx.get(f"{url}/models", headers={**key, "Origin": "https://evil.example"}), 403),
        (lambda url, key: httpx.get(f"{url}/nothing", headers=key), 404),
        (lambda url, key: httpx.get(f"{url}/chat/completions", headers=key), 404),
        (lambda url, key: httpx.post(f"{url}/chat/completions", headers=key, content=b"{"), 400),
        (lambda url, key: httpx.post(f"{url}/chat/completions", headers=key, json=[1]), 400),
        (lambda url, key: httpx.post(f"{url}/chat/completions", headers=key, content=b"\xff\xfe"), 400),
    ],
)
def test_other_requests_are_refused_in_openais_form(server: Server, send: Callable[..., Any], status: int) -> None:
    answer = send(server.address, {"Authorization": f"Bearer {KEY}"})
    assert answer.status_code == status
    assert answer.json()["error"]["message"].endswith((".", "completions."))


def test_port_in_use_is_a_sentence(server: Server, model: Any) -> None:
    with pytest.raises(AccessError, match=f"cannot listen on port {server.port}"):
        Server(model.playground, model.record, KEY, port=server.port).start()


def test_model_that_cannot_chat_is_refused(model: Any) -> None:
    record = model.record.model_copy(update={"architecture": "encoder", "task": "extractive-question-answering"})
    with pytest.raises(RecipeError, match="cannot chat"):
        Server(model.playground, record, KEY)


def test_key_is_made_unless_one_is_given() -> None:
    assert choose_key({"MODELFORGE_API_KEY": "my-own-key"}) == ("my-own-key", False)
    (one, is_new), (other, _) = choose_key({}), choose_key({})
    assert is_new and one != other and len(one) > 30
    with pytest.raises(AccessError, match="at least 8"):
        choose_key({"MODELFORGE_API_KEY": "short"})


def test_server_that_is_stopped_frees_its_port(model: Any) -> None:
    first = Server(model.playground, model.record, KEY)
    first.start()
    first.stop()
    second = Server(model.playground, model.record, KEY, port=first.port)
    second.start()
    second.stop()
