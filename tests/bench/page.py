"""A page of the app without a browser: it holds the components' values and calls handlers over HTTP, as Gradio's own
page does (POST /gradio_api/queue/join, then the events of /gradio_api/queue/data)."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any, Self

import httpx

Handler = dict[str, Any]
EMPTY = {"textbox": ""}
"""Kind of component -> its value on a page where the app gives none."""


class Page:
    """values: component id -> value. Use as ``with Page(url) as page``."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=300)
        self._session = uuid.uuid4().hex[:11]
        self._http.get("/").raise_for_status()
        config = self._http.get("/config").json()
        self._names = {each["props"].get("elem_id"): each["id"] for each in config["components"]}
        self._handlers: list[Handler] = [each for each in config["dependencies"] if each["backend_fn"]]
        self.values = {each["id"]: each["props"].get("value", EMPTY.get(each["type"])) for each in config["components"]}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def find(self, element: str, event: str) -> Handler:
        """The handler of an element's own event: ("train-start", "click")."""
        wanted = [self._names[element], event]
        return next(each for each in self._handlers if wanted in each["targets"])

    def find_writers(self, element: str, event: str) -> list[Handler]:
        """The handlers that write an element upon any event of that name."""
        wanted = self._names[element]
        return [
            each
            for each in self._handlers
            if wanted in each["outputs"] and event in (name for _, name in each["targets"])
        ]

    def set(self, element: str, value: Any) -> None:
        self.values[self._names[element]] = value

    def send(self, handler: Handler) -> float:
        """Call a handler with the values that the page holds, and keep what it writes. Returns the seconds until the
        answer was there."""
        data = [self.values.get(each) for each in handler["inputs"]]
        body = {"data": data, "fn_index": handler["id"], "session_hash": self._session, "trigger_id": None}
        began = time.perf_counter()
        self._http.post("/gradio_api/queue/join", json=body).raise_for_status()
        output = self._read_answer()
        seconds = time.perf_counter() - began
        for component, value in zip(handler["outputs"], output, strict=False):
            if not (isinstance(value, dict) and value.get("__type__") == "update"):
                self.values[component] = value
            elif "value" in value:
                self.values[component] = value["value"]
        return seconds

    def _read_answer(self) -> list[Any]:
        """Of the one event under way: what its handler returned last. Raises RuntimeError for a handler that failed."""
        output: list[Any] = []
        with self._http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self._session}) as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line else {}
                if message.get("msg") in ("process_generating", "process_completed"):
                    if not message.get("success", True):
                        raise RuntimeError(f"a handler failed: {message['output']}")
                    output = message["output"].get("data", output)
                if message.get("msg") in ("process_completed", "close_stream"):
                    break
        return output
