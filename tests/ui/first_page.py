"""Opens the app as `serve` does, loads its page as a browser does, and prints which of the named libraries that loaded.

Run as a process of its own: ``python -m tests.ui.first_page torch transformers``. Nothing is preloaded in it: that
starts a second after the page of `serve` is up.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from typing import Any

import httpx

ROUNDS = 6  # a change that a handler makes calls other handlers; the page is quiet after fewer


class Page:
    """The values of a page's components, and the handlers that its events call, over the app's own HTTP interface."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        client.get("/").raise_for_status()
        self.config = client.get("/config").raise_for_status().json()
        empty = {"textbox": ""}  # by the kind of component; a page sends nothing for the others
        self.values = {
            each["id"]: each["props"].get("value") or empty.get(each["type"], each["props"].get("value"))
            for each in self.config["components"]
        }
        self.handlers = self.config["dependencies"]
        self.hash = secrets.token_hex(8)
        self.called = 0

    def load(self) -> None:
        """Everything that happens until the page is at rest."""
        changed = self._fire({"load", "tick"}, None)
        for _ in range(ROUNDS):
            changed = self._fire({"change"}, changed)

    def _fire(self, events: set[str], components: set[int] | None) -> set[int]:
        """Call the handlers of these events (of these components); returns the components whose value is another."""
        changed: set[int] = set()
        for handler in self.handlers:
            targets = [(component, event) for component, event in handler["targets"] if event in events]
            if components is not None:
                targets = [each for each in targets if each[0] in components]
            if targets:
                changed |= self._call(handler)
        return changed

    def _call(self, handler: dict[str, Any]) -> set[int]:
        if not handler["backend_fn"]:  # JavaScript that gives a hidden number another value
            return set(handler["outputs"])
        self.called += 1
        sent = {
            "data": [self.values[component] for component in handler["inputs"]],
            "fn_index": handler["id"],
            "session_hash": self.hash,
        }
        self.client.post("/gradio_api/queue/join", json=sent).raise_for_status()
        returned: list[Any] = []
        with self.client.stream("GET", f"/gradio_api/queue/data?session_hash={self.hash}") as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if message.get("msg") == "process_completed":
                    assert message["success"], message
                    returned = message["output"]["data"]
                if message.get("msg") == "close_stream":
                    break
        changed = set()
        for component, value in zip(handler["outputs"], returned, strict=True):
            is_update = isinstance(value, dict) and value.get("__type__") == "update"
            if is_update and "value" not in value:
                continue
            now = value["value"] if is_update else value
            if now is None or now != self.values.get(component):  # the value of a State stays on the server
                self.values[component] = now
                changed.add(component)
        return changed


def main(libraries: list[str]) -> None:
    from modelforge.forge import shared_forge
    from modelforge.ui import app
    from modelforge.ui.access import decide_access

    access = decide_access(environment={})
    blocks = app.build(shared_forge(), access)
    url = app.launch(blocks, access)
    with httpx.Client(base_url=url, timeout=120) as client:
        page = Page(client)
        page.load()
    print(json.dumps({"called": page.called, "loaded": sorted({*libraries} & {*sys.modules})}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
