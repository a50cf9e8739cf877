"""What `modelforge.compat.gradio` sets in Gradio."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import gradio
from gradio.queueing import Queue

from modelforge.compat.gradio import load_without_stubs, poll_queue_less_often

DESCRIBE = """
import inspect, json, sys
from importlib import import_module
import gradio
meta = import_module("gradio.component_meta")
shown = {}
for name in sorted(gradio.__all__):
    part = getattr(gradio, name)
    for event in getattr(part, "EVENTS", ()):
        shown[f"{name}.{event}"] = str(inspect.signature(getattr(part, str(event))))
print(json.dumps([meta.create_or_modify_pyi.__module__, len(sys.meta_path), shown]))
"""


def test_queue_sleeps_as_long_as_it_is_set_to() -> None:
    with gradio.Blocks() as page:
        pass
    page.queue()
    assert page._queue.sleep_when_free < 0.02
    poll_queue_less_often(page)
    assert isinstance(page._queue, Queue) and page._queue.sleep_when_free == 0.02
    assert "asyncio.sleep(self.sleep_when_free)" in inspect.getsource(Queue)


def describe_gradio(first: str) -> Any:
    """As a process has it that runs this first: where the function comes from, and every event with its arguments."""
    command = [sys.executable, "-c", f"import sys; count = len(sys.meta_path)\n{first}\n{DESCRIBE}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_without_stubs_gradio_has_the_same_components_with_the_same_events() -> None:
    plain = describe_gradio("")
    ours = describe_gradio("from modelforge.compat.gradio import load_without_stubs; load_without_stubs()")
    assert (plain[0], ours[0]) == ("gradio.component_meta", "modelforge.compat.gradio")
    assert ours[1:] == plain[1:]
    assert "Button.click" in ours[2] and len(ours[2]) > 100


def test_what_is_left_out_only_writes_files_for_editors() -> None:
    """Its source: in this process the function itself may be ours."""
    source = Path(str(import_module("gradio.component_meta").__file__)).read_text(encoding="utf-8")
    body = source[source.index("def create_or_modify_pyi(") : source.index("def get_local_contexts")]
    assert "component_class: type, class_name: str, events: list[str | EventListener]" in body
    assert 'source_file.with_suffix(".pyi")' in body
    assert "return " not in body and "setattr" not in body and "component_class." not in body
    assert "create_or_modify_pyi(component_class, name, events)" in source  # for every class: what takes the time


def test_loading_gradio_a_second_time_changes_nothing() -> None:
    before = [*sys.meta_path]
    load_without_stubs()
    assert sys.meta_path == before and sys.modules["gradio"] is gradio
