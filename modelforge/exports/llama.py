"""A GGUF file in llama.cpp, as other programs load it, to ask what it makes of a conversation and of each token."""

from __future__ import annotations

import importlib.util
import json
import secrets
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psutil

from modelforge.errors import ExportError
from modelforge.processes import python_command

LOADING_SECONDS = 600.0
ANSWER_SECONDS = 300.0
PACKAGE = "xllamacpp"


def is_installed() -> bool:
    return importlib.util.find_spec(PACKAGE) is not None


class Llama:
    """llama.cpp with one model, in a process that ends with the block.

    context: tokens of a prompt and its answer. meanwhile: called several times a second while it loads; what it raises
    ends it. Raises ExportError where the file cannot be loaded.
    """

    def __init__(self, model: Path, context: int, meanwhile: Callable[[], None] = lambda: None) -> None:
        self._key = secrets.token_hex(16)
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        threads = str(psutil.cpu_count(logical=False) or 1)
        command = python_command("modelforge.exports.llama_process", str(model), str(context), threads)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._output, text=True
        )
        try:
            self._address = self._wait_for_address(meanwhile)
        except BaseException:
            self.close()
            raise

    def _wait_for_address(self, meanwhile: Callable[[], None]) -> str:
        assert self._process.stdin and self._process.stdout  # noqa: S101 - both are pipes
        self._process.stdin.write(self._key + "\n")
        self._process.stdin.flush()
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.append(self._process.stdout.readline()), daemon=True)  # type: ignore[union-attr]
        reader.start()
        for _ in range(int(LOADING_SECONDS / 0.2)):
            reader.join(0.2)
            if not reader.is_alive():
                break
            meanwhile()
        if not lines or not lines[0].startswith("http://127.0.0.1:"):
            raise ExportError(f"llama.cpp cannot load this file: {self._last_error()}")
        return lines[0].strip()

    def _last_error(self) -> str:
        self._output.seek(0)
        lines = self._output.read().decode("utf-8", errors="replace").splitlines()
        told = [line for line in lines if "error" in line.lower() or "exception" in line.lower()] or lines
        return (told or ["it gave no reason"])[0].strip()[-300:]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._output.close()

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] = ()) -> list[int]:
        """Token ids of a conversation by the template in the file, up to where the answer begins. Raises ExportError
        where the template refuses it."""
        more = {"tools": list(tools)} if tools else {}
        return self.tokenize(str(self._post("/apply-template", messages=list(messages), **more)["prompt"]))

    def tokenize(self, text: str) -> list[int]:
        return list(self._post("/tokenize", content=text, add_special=True, parse_special=True)["tokens"])

    def find_likeliest(self, ids: Sequence[int], count: int) -> dict[int, float]:
        """The likeliest tokens after these, with their log likelihoods, the likeliest first."""
        answer = self._post(
            "/completion", prompt=list(ids), n_predict=1, temperature=0.0, n_probs=count, cache_prompt=True
        )
        return {each["id"]: each["logprob"] for each in answer["completion_probabilities"][0]["top_logprobs"]}

    def write(self, ids: Sequence[int], tokens: int) -> str:
        """The likeliest answer after these token ids."""
        return str(self._post("/completion", prompt=list(ids), n_predict=tokens, temperature=0.0)["content"])

    def _post(self, path: str, **body: Any) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        request = urllib.request.Request(self._address + path, json.dumps(body).encode(), headers)  # noqa: S310 - loopback
        try:
            # No proxy: the address is of this machine.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(request, timeout=ANSWER_SECONDS) as answer:
                found: dict[str, Any] = json.loads(answer.read())
                return found
        except urllib.error.HTTPError as error:
            reason = error.read().decode("utf-8", errors="replace")[:300]
            raise ExportError(f"llama.cpp refuses what it was sent: {reason}") from error
        except (OSError, ValueError) as error:
            raise ExportError(f"llama.cpp stopped while it was answering: {self._last_error()}") from error
