"""Renders chat templates in a bounded process: whatever asks transformers for a chat's text gets it from there.

Checking a template once would not be enough: what it does may depend on the text of a message. So every rendering goes
through the process, which costs a tenth of a millisecond each time, and a quarter of a second once.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psutil

from modelforge.compat.transformers import render_templates_with
from modelforge.errors import BaseModelError
from modelforge.processes import python_command

SECONDS = 5
"""Of a processor's time, for one chat. Neither other programs nor the sleep of a laptop count."""
MEMORY_BYTES = 1_000_000_000
_TICK_SECONDS = 0.05


class Renderer:
    """Starts the process when it is first needed, and again when it had to be ended. One rendering at a time."""

    def __init__(self, seconds: int = SECONDS, memory_bytes: int = MEMORY_BYTES) -> None:
        self.seconds = seconds
        self.memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._rendering = threading.Event()
        self._count = 0  # renderings begun
        self._beyond = False  # the process was ended because one took too much
        self._process: subprocess.Popen[bytes] | None = None

    def render(self, template: str, chats: Sequence[Mapping[str, Any]]) -> list[str]:
        """The texts of a few chats, each given by the variables of the template.

        Raises jinja2.TemplateError where the template rejects one of them, BaseModelError where it takes too much.
        """
        from jinja2 import TemplateError

        request = json.dumps([template, chats]).encode() + b"\n"
        with self._lock:
            answer = self._ask(request)
        if "texts" in answer:
            return list(answer["texts"])
        if "error" in answer:
            raise TemplateError(answer["error"])
        raise BaseModelError(
            f"The chat template of this base model was stopped: for one chat it takes more than {self.seconds} seconds "
            f"or {self.memory_bytes // 1_000_000} MB, or its text is far longer than the chat.",
            where="chat template",
            fix="Choose another base model: this template is faulty, or made to do harm.",
        )

    def end(self) -> None:
        """End the process; the next rendering starts another one."""
        with self._lock:
            if self._process:
                self._process.kill()
                self._process.communicate()

    def _ask(self, request: bytes) -> dict[str, Any]:
        for _ in range(2):  # a process that something else has ended is started once more
            process = self._process if self._process and self._process.poll() is None else self._start()
            assert process.stdin and process.stdout  # noqa: S101 - both are pipes
            self._count += 1
            self._rendering.set()
            line = b""
            try:
                process.stdin.write(request)
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                pass  # it has ended
            finally:
                self._rendering.clear()
                if not line.endswith(b"\n"):  # nor may an answer be left that the next one would take for its own
                    process.kill()
                    process.communicate()
            if line:
                found: dict[str, Any] = json.loads(line)
                return found
            if self._beyond:
                break
        return {"beyond": True}

    def _start(self) -> subprocess.Popen[bytes]:
        # The system's own limit of time comes a little later than ours, and only ends it where this process is gone.
        command = python_command("modelforge.data.template_process", str(self.memory_bytes), str(2 * self.seconds))
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._beyond = False
        threading.Thread(target=self._watch, args=(self._process,), name="chat templates", daemon=True).start()
        return self._process

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """End the process when one rendering takes too much, which it could not do itself within one operation."""
        count, before = 0, 0.0
        with contextlib.suppress(psutil.NoSuchProcess):
            child = psutil.Process(process.pid)
            while process.poll() is None:
                self._rendering.wait()
                time.sleep(_TICK_SECONDS)
                used = sum(child.cpu_times()[:2])
                if count != self._count:
                    count, before = self._count, used
                    continue
                is_much = used - before > self.seconds or child.memory_info().rss > self.memory_bytes
                if is_much and self._rendering.is_set():
                    self._beyond = True
                    process.kill()


RENDERER = Renderer()
"""The one of this process."""


class BoundedTemplate:
    """A chat template; stands for the compiled one of transformers."""

    def __init__(self, text: str) -> None:
        self._text = text

    def render(self, **variables: Any) -> str:
        """The text of a chat. Raises as `Renderer.render`."""
        return RENDERER.render(self._text, [variables])[0]


def bound_templates() -> None:
    """From now on transformers and TRL render no chat template in this process."""
    render_templates_with(BoundedTemplate)
