"""Chat templates of strangers are rendered in a process that is bounded in time and memory, wherever that is asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any

import psutil
import pytest
from jinja2 import TemplateError

from modelforge.data.encode import ChatEncoder
from modelforge.data.template_renderer import RENDERER, Renderer
from modelforge.errors import BaseModelError, DatasetError
from tests import tiny

CHAT = {"messages": [{"role": "user", "content": "hello"}]}
PLAIN = "{{ messages[0].content }}"
LOOP = "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}"
HOSTILE = {
    "a loop": LOOP,
    "a number with a width": '{{ "%0999999999d" % 1 }}',
    "a text that is repeated": '{{ "a" * 10**10 }}',
    "a text that is widened": "{{ 'a' | center(10**10) }}",
    "a list": "{% set x = [0] * 10**10 %}",
    "a text that grows": "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "a power": "{{ 9 ** (9 ** 9) }}",
    "a text that is far too long": "{{ 'a' * 3000000 }}",
    "a process that breaks down": "{{ " + "-" * 100_000 + "1 }}",
}


@pytest.fixture
def renderer() -> Any:
    made = Renderer(seconds=1, memory_bytes=400_000_000)
    yield made
    made.end()


@pytest.mark.parametrize("template", HOSTILE.values(), ids=HOSTILE)
def test_template_that_takes_too_much_is_refused_and_the_next_one_is_rendered(
    renderer: Renderer, template: str
) -> None:
    with pytest.raises((BaseModelError, TemplateError)):
        renderer.render(template, [CHAT])
    assert renderer.render(PLAIN, [CHAT, {"messages": [{"content": "bye"}]}]) == ["hello", "bye"]


def test_refusal_says_the_limits(renderer: Renderer) -> None:
    with pytest.raises(BaseModelError, match="more than 1 seconds or 400 MB") as caught:
        renderer.render(LOOP, [CHAT])
    assert caught.value.where == "chat template" and caught.value.fix


@pytest.mark.parametrize("template", ['{{ "%0999999999d" % 1 }}', '{{ "a" * 10**10 }}'])
def test_dataset_is_not_encoded_with_such_a_template(template: str) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(BaseModelError, match="chat template of this base model was stopped"):
        ChatEncoder(tokenizer, 64).encode_row({"messages": tiny.messages("hi", "there")})


def test_template_that_waits_for_a_text_is_stopped_when_it_comes(renderer: Renderer) -> None:
    template = "{% if 'now' in messages[0].content %}" + LOOP + "{% endif %}fine"
    assert renderer.render(template, [CHAT]) == ["fine"]
    with pytest.raises(BaseModelError):
        renderer.render(template, [{"messages": [{"role": "user", "content": "now"}]}])


def test_template_that_rejects_a_chat_gives_its_reason(renderer: Renderer) -> None:
    with pytest.raises(TemplateError, match="no system prompt, please"):
        renderer.render("{{ raise_exception('no system prompt, please') }}", [CHAT])
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "{{ messages[0].tools.nonsense }}"
    with pytest.raises(DatasetError, match="chat template rejects a chat"):
        ChatEncoder(tokenizer, 64).template.render(tiny.messages("hi", "there"))


@pytest.mark.parametrize(
    "template",
    ["{{ ''.__class__ }}", "{% set n = namespace(_x=1) %}", "{{ cycler.__init__.__globals__.os.getcwd() }}"],
)
def test_template_does_not_get_at_python_itself(renderer: Renderer, template: str) -> None:
    try:
        (found,) = renderer.render(template, [CHAT])
    except TemplateError:
        return
    assert found == ""


def test_threads_get_their_own_texts(renderer: Renderer) -> None:
    wrong: list[str] = []

    def render(name: str) -> None:
        for number in range(50):
            text = f"{name} {number}"
            if renderer.render(PLAIN, [{"messages": [{"content": text}]}]) != [text]:
                wrong.append(text)

    threads = [threading.Thread(target=render, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_process_that_something_else_ended_is_started_again(renderer: Renderer) -> None:
    for _ in range(2):
        assert renderer.render(PLAIN, [CHAT]) == ["hello"]
        assert renderer._process
        renderer._process.kill()
        renderer._process.wait()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no such signals here")
def test_rendering_that_is_interrupted_leaves_no_answer_for_the_next(renderer: Renderer) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        renderer.render(PLAIN, [CHAT])
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            renderer.render(LOOP, [CHAT])
    finally:
        signal.signal(signal.SIGALRM, before)
    assert renderer.render(PLAIN, [{"messages": [{"content": "next"}]}]) == ["next"]


def test_memory_is_watched_where_the_system_does_not_bound_it() -> None:
    renderer = Renderer(memory_bytes=100_000_000)
    greedy = "import time; x = bytearray(b'x') * 300_000_000; print(flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", greedy], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        renderer._rendering.set()
        renderer._watch(process)
        assert process.wait() and renderer._beyond


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the system has no limit on a process's time")
def test_loop_ends_after_its_app_was_killed() -> None:
    code = f"""
import threading, time
from modelforge.data.template_renderer import Renderer
renderer = Renderer(seconds=1)
threading.Thread(target=renderer.render, args=({LOOP!r}, [{{}}]), daemon=True).start()
while not renderer._process:
    time.sleep(0.01)
print(renderer._process.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as app:
        assert app.stdout
        child = psutil.Process(int(app.stdout.readline()))
        os.kill(app.pid, signal.SIGKILL)
    child.wait(30)


def test_process_loads_little() -> None:
    """It is started before the first chat is rendered, which waits for it."""
    code = "import modelforge.data.template_process, sys, json; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & {"torch", "transformers", "numpy", "pydantic", "gradio", "huggingface_hub"}


def test_one_process_renders_everything() -> None:
    """A process for each chat would take minutes for a dataset."""
    tokenizer, processes = tiny.tokenizer(), set()
    for _ in range(3):
        ChatEncoder(tokenizer, 64).encode_row({"messages": tiny.messages("hi", "there")})
        assert RENDERER._process
        processes.add(RENDERER._process.pid)
    assert len(processes) == 1
