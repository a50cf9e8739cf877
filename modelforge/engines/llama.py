"""Starts llama.cpp on a model in GGUF, and lets it write: token ids in, text out.

Its template and its tokenizer are not used for what a model reads: that is what its own tokenizer says. They are used
to check an export (`exports/llama.py`).
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import queue
import secrets
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psutil

from modelforge.engines.process import READY
from modelforge.errors import EngineError
from modelforge.processes import python_command

PACKAGE = "xllamacpp"
PARALLEL = 4  # answers at once; more wait
MOST_CONTEXT = 8_192
"""Tokens of all answers at once: the cache of a model with 7 billion weights takes 1 GB for so many."""
STARTS_WITHIN = 300.0  # seconds
SILENT_SECONDS = 300.0  # of a prompt that is read


class Written(NamedTuple):
    """What came: text, of whole characters; token: the last one, -1 for none; tokens: all of them so far; is_end: the
    model has ended the text. (Of a character that is several tokens, llama.cpp tells only the last one.)"""

    text: str
    token: int
    tokens: int
    is_end: bool


def is_installed() -> bool:
    return importlib.util.find_spec(PACKAGE) is not None


class LlamaServer:
    """One loaded model, with an adapter or without. `write` may be called by several threads.

    window: how many tokens the model can read at once. with_template: the chat template in the file can be used.
    Raises EngineError where llama.cpp does not start.
    """

    def __init__(self, model: Path, adapter: Path | None, window: int, *, with_template: bool = False) -> None:
        self.context = min(window, MOST_CONTEXT)
        self.has_adapter = adapter is not None
        self._key = secrets.token_urlsafe(24)
        self._room = _Room(self.context)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - for as long as the process
        self._process = subprocess.Popen(
            python_command("modelforge.engines.process"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        settings = {
            "model": str(model),
            "adapter": str(adapter or ""),
            "key": self._key,
            "context": self.context,
            "parallel": PARALLEL,
            "threads": psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,
            "with_template": with_template,
        }
        try:
            self._address = self._start(settings)
        except BaseException:
            self.stop()
            raise

    def write(
        self, prompt: Sequence[int], longest: int, drawn: dict[str, Any], *, scale: float = 1.0
    ) -> Iterator[Written]:
        """Yield what follows a prompt, at most `longest` tokens.

        drawn: temperature and the like, by llama.cpp's names. scale: of the adapter; 0 is the base model. Close the
        iterator to stop. Raises EngineError.
        """
        body = {
            "prompt": list(prompt),
            "n_predict": longest,
            "stream": True,
            "return_tokens": True,
            "timings_per_token": True,
            "cache_prompt": True,
            **({"lora": [{"id": 0, "scale": scale}]} if self.has_adapter else {}),
            **drawn,
        }
        with self._room.taken(len(prompt) + longest), contextlib.closing(self._connect()) as connection:
            try:
                headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
                connection.request("POST", "/completion", json.dumps(body), headers)
                yield from _read_events(connection.getresponse())
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise EngineError(f"llama.cpp has stopped: {error or type(error).__name__}.") from error

    def ask(self, path: str, **body: Any) -> dict[str, Any]:
        """The answer to one request, such as "/tokenize". Raises EngineError."""
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        with contextlib.closing(self._connect()) as connection:
            try:
                connection.request("POST", path, json.dumps(body), headers)
                response = connection.getresponse()
                told: dict[str, Any] = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise EngineError(f"llama.cpp has stopped: {error or type(error).__name__}.") from error
        if response.status != http.client.OK:
            raise EngineError(f"llama.cpp refuses this: {told.get('error', {}).get('message', response.reason)}.")
        return told

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """End the process, and with it whatever is written."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]

    def _connect(self) -> http.client.HTTPConnection:
        place = urlsplit(self._address)
        return http.client.HTTPConnection(place.hostname or "", place.port, timeout=SILENT_SECONDS)

    def _start(self, settings: dict[str, Any]) -> str:
        """Wait until the model is loaded. Returns the address."""
        assert self._process.stdin and self._process.stdout  # noqa: S101 - pipes were asked for
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_forward, args=[self._process.stdout, lines], daemon=True).start()
        with contextlib.suppress(OSError):  # it ended at once: then so do its lines
            self._process.stdin.write(json.dumps(settings) + "\n")
            self._process.stdin.flush()
        while True:
            try:
                line = lines.get(timeout=STARTS_WITHIN)
            except queue.Empty as error:
                raise EngineError(f"llama.cpp did not start within {STARTS_WITHIN:.0f} s.") from error
            if line.startswith(READY):
                return line.removeprefix(READY).strip()
            if not line:
                raise EngineError(f"llama.cpp cannot load this model: {self._read_reason()}")

    def _read_reason(self) -> str:
        self._process.wait()
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read()[-20_000:].decode(errors="replace").splitlines()]
        reasons = [line for line in lines if "error" in line.lower()] or [line for line in lines if line]
        return (reasons or ["it gave no reason"])[-1][:300]


def _forward(stream: Any, lines: queue.Queue[str]) -> None:
    """Read to the end: a process that nobody reads from stops when the pipe is full."""
    with contextlib.suppress(ValueError, OSError):  # closed
        for line in stream:
            lines.put(line)
    lines.put("")


def _read_events(response: http.client.HTTPResponse) -> Iterator[Written]:
    if response.status != http.client.OK:
        told = json.loads(response.read() or b"{}").get("error", {})
        raise EngineError(f"llama.cpp refuses this: {told.get('message', response.reason)}.")
    for line in response:
        if line.startswith(b"data: ") and not line.startswith(b"data: [DONE]"):
            part = json.loads(line.removeprefix(b"data: "))
            if "error" in part:
                raise EngineError(f"llama.cpp refuses this: {part['error'].get('message', '')}.")
            count = part.get("tokens_predicted") or part.get("timings", {}).get("predicted_n", 0)
            token = (part.get("tokens") or [-1])[-1]
            yield Written(part.get("content", ""), token, count, part.get("stop_type") == "eos")
            if part.get("stop"):
                return
    raise EngineError("llama.cpp has stopped while it was answering.")


class _Room:
    """Tokens that are free for answers; who needs more than there are waits."""

    def __init__(self, tokens: int) -> None:
        self._free = tokens
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def taken(self, tokens: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._free >= tokens)
            self._free -= tokens
        try:
            yield
        finally:
            with self._changed:
                self._free += tokens
                self._changed.notify_all()
