"""A small Hugging Face Hub on loopback that serves datasets: enough of its HTTP API (https://huggingface.co/docs/hub/api)
that the real `datasets` can find, list and download them. It only reads; `tests.hub_server` takes uploads of models.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

REVISION = "5" * 40
Answer = tuple[int, bytes, dict[str, str]]


@dataclass
class DatasetServer:
    """Use as ``with DatasetServer({id: {path: content}}) as hub``; `hub.url` is its endpoint.

    gated: ids whose files are only for those who were given access. status: answer everything so, if it is set.
    requests: "METHOD path" of all that was asked for.
    """

    repos: dict[str, dict[str, bytes]]
    gated: set[str] = field(default_factory=set)
    status: int = 0
    requests: list[str] = field(default_factory=list)
    revision: str = REVISION
    url: str = ""

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        if self.status:
            return _refuse(self.status, "made to fail")
        if match := re.fullmatch(r"/datasets/(?P<repo>[^/]+/[^/]+)/resolve/[^/]+/(?P<path>.+)", path):
            return self._resolve(match["repo"], match["path"])
        match = re.fullmatch(r"/api/datasets/(?P<repo>[^/]+/[^/]+?)(/(?P<what>revision|tree|paths-info)/.*)?", path)
        if not match or match["repo"] not in self.repos:
            return _refuse(404, "Repository not found", "RepoNotFound")
        files = self.repos[match["repo"]]
        if match["what"] == "tree":
            _, _, folder = path.partition("/tree/")[2].partition("/")
            return _tell(_list_folder(files, folder))
        if match["what"] == "paths-info":
            asked = json.loads(body) if body.startswith(b"{") else parse_qs(body.decode())
            return _tell([_describe(path, files[path]) for path in asked["paths"] if path in files])
        siblings = [{"rfilename": path, "size": len(content)} for path, content in files.items()]
        gated = "manual" if match["repo"] in self.gated else False
        about = {"id": match["repo"], "sha": self.revision, "private": False, "gated": gated, "tags": []}
        return _tell(about | {"siblings": siblings, "downloads": 0, "likes": 0})

    def _resolve(self, repo: str, path: str) -> Answer:
        if repo not in self.repos:
            return _refuse(404, "Repository not found", "RepoNotFound")
        if repo in self.gated:
            return _refuse(401, "Access to this dataset is restricted", "GatedRepo")
        files, at_commit = self.repos[repo], {"X-Repo-Commit": self.revision}
        if path not in files:
            status, content, headers = _refuse(404, "Entry not found", "EntryNotFound")
            return status, content, headers | at_commit
        return 200, files[path], at_commit | {"ETag": f'"{_describe(path, files[path])["oid"]}"'}


def _list_folder(files: dict[str, bytes], folder: str) -> list[dict[str, Any]]:
    inside = {path.removeprefix(f"{folder}/"): path for path in files if not folder or path.startswith(f"{folder}/")}
    folders = dict.fromkeys(rest.partition("/")[0] for rest in inside if "/" in rest)
    prefix = f"{folder}/" if folder else ""
    return [{"type": "directory", "path": f"{prefix}{name}", "oid": "0" * 40, "size": 0} for name in folders] + [
        _describe(path, files[path]) for rest, path in inside.items() if "/" not in rest
    ]


def _describe(path: str, content: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return {"type": "file", "path": path, "size": len(content), "oid": oid}


def _tell(value: Any) -> Answer:
    return 200, json.dumps(value).encode(), {"Content-Type": "application/json"}


def _refuse(status: int, message: str, code: str = "") -> Answer:
    return status, json.dumps({"error": message}).encode(), {"X-Error-Message": message, "X-Error-Code": code}


class _Handler(BaseHTTPRequestHandler):
    hub: DatasetServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, content, headers = self.hub.answer(self.command, path, body)
        first, total = 0, len(content)
        if status == 200 and (asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))):
            first, last = int(asked[1]), int(asked[2] or total - 1)
            content, status = content[first : last + 1], 206
            headers |= {"Content-Range": f"bytes {first}-{first + len(content) - 1}/{total}"}
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Keep the tests' output readable."""
