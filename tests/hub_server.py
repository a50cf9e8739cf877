"""A small Hugging Face Hub on loopback, for tests: enough of it that the real huggingface_hub client can sign in,
make a repository, push (preupload, git-lfs, commit) and download again. It keeps everything in memory.

It is as strict as the Hub where a client could be wrong: every call needs a known token, an uploaded object must have
the hash and size that it was announced with, a commit may only name objects that have arrived, and private
repositories are invisible to others. The HTTP API is described at https://huggingface.co/docs/hub/api and in
https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import yaml

CLOSE = 0  # as the status of a failure: close the connection in the middle of the request, without an answer
Answer = tuple[int, Any, dict[str, str]]  # status, JSON or bytes, headers


@dataclass
class Failure:
    status: int
    path_part: str
    times: int
    message: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What a route is given: the parts of its path, and who asks (None when it is not known)."""

    body: bytes
    who: str | None
    token: str
    repo: str = ""
    revision: str = "main"
    path: str = ""
    key: str = ""
    query: str = ""

    @property
    def for_pull_request(self) -> bool:
        return "create_pr=1" in self.query


@dataclass
class HubServer:
    """Use as ``with HubServer() as hub``; `hub.url` is its endpoint.

    tokens: token -> user, each may write to the user's own repositories; read_only: tokens that may only read.
    repos: repository id -> {"private": bool, "files": {path: bytes}, "commits": [{"oid", "summary", "files"}],
    "pull_requests": [{"files", "who"}]}.
    gated: repository id -> users with access; everybody sees that it is there, only those get its files.
    requests: "METHOD path" of all that was asked for, in order.
    """

    tokens: dict[str, str] = field(default_factory=lambda: {"hf_annas_token_1234567890": "anna"})
    read_only: set[str] = field(default_factory=set)
    repos: dict[str, dict[str, Any]] = field(default_factory=dict)
    gated: dict[str, set[str]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    tells_roles: bool = True  # of a fine-grained token the Hub does not
    slow_seconds: float = 0.0  # before each answer
    cut_after: int = 0  # bytes of a download, after which each connection is cut
    url: str = ""

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._lock = threading.RLock()
        self._objects: dict[str, bytes] = {}  # git-lfs objects by their SHA-256
        self._expected: dict[str, tuple[str, int]] = {}  # secret part of an upload address -> SHA-256, size
        self._failures: list[Failure] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fail_next(
        self, status: int, path_part: str = "", *, times: int = 1, message: str = "made to fail", **headers: str
    ) -> None:
        """Answer the next requests whose path contains path_part with this status (CLOSE breaks the connection)."""
        with self._lock:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            self._failures.append(Failure(status, path_part, times, message, named))

    def stop_failing(self) -> None:
        with self._lock:
            self._failures.clear()

    def take_failure(self, path: str) -> Failure | None:
        with self._lock:
            for failure in self._failures:
                if failure.times > 0 and failure.path_part in path:
                    failure.times -= 1
                    return failure
        return None

    def answer(self, method: str, path: str, token: str, body: bytes, query: str = "") -> Answer:
        """What the Hub says to one request; path is without its query."""
        with self._lock:
            self.requests.append(f"{method} {path}")
            for pattern, permission, call in _ROUTES:
                if match := re.fullmatch(pattern, path):
                    named = {name: unquote(value) for name, value in match.groupdict().items() if value}
                    asked = Request(body=body, who=self.tokens.get(token), token=token, query=query, **named)
                    return self._refuse_access(asked, permission) or call(self, asked)
            return _refuse(404, "Sorry, we can't find the page you are looking for.")

    def _refuse_access(self, asked: Request, permission: str) -> Answer | None:
        if permission == "anybody":
            return None
        if asked.who is None and (asked.token or permission == "user"):
            return _refuse(401, "Invalid credentials in Authorization header")
        owner = asked.repo.partition("/")[0]
        if permission in ("read", "write", "contribute"):
            if asked.repo not in self.repos or (self.repos[asked.repo]["private"] and owner != asked.who):
                return _refuse(404, "Repository not found", "RepoNotFound")
            if permission == "contribute" or asked.for_pull_request:
                return _refuse(403, "Forbidden") if asked.who is None or asked.token in self.read_only else None
            if permission == "write" and (owner != asked.who or asked.token in self.read_only):
                return _refuse(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
        return None

    def _whoami(self, asked: Request) -> Answer:
        role = "read" if asked.token in self.read_only and self.tells_roles else "write"
        access = {"displayName": "laptop", "role": role}
        return 200, {"type": "user", "name": asked.who, "orgs": [], "auth": {"accessToken": access}}, {}

    def _create(self, asked: Request) -> Answer:
        new = json.loads(asked.body)
        owner = new.get("organization") or asked.who
        if owner != asked.who or asked.token in self.read_only:
            return _refuse(403, f'You don\'t have the rights to create a model under the namespace "{owner}"')
        repo_id = f"{owner}/{new['name']}"
        address = {"name": repo_id, "url": f"{self.url}/{repo_id}"}
        if repo_id in self.repos:
            return 409, {"error": "You already created this model repo", **address}, {}
        self.repos[repo_id] = {"private": new.get("visibility") == "private", "files": {}, "commits": []}
        self._add_commit(repo_id, "initial commit")
        return 200, address, {}

    def _validate_card(self, asked: Request) -> Answer:
        """The Hub refuses a README.md whose front matter is no YAML object or names what cannot be a base model."""
        front = re.match(r"---\n(.*?)^---$", json.loads(asked.body)["content"], re.DOTALL | re.MULTILINE)
        problems = []
        try:
            metadata = yaml.safe_load(front[1]) if front else {}
            if not isinstance(metadata, dict):
                problems.append("The front matter must be an object")
            elif not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", metadata.get("base_model", "none")):
                problems.append('"base_model" must be the id of a model')
        except yaml.YAMLError as error:
            problems.append(f"Invalid YAML: {error}")
        return (400 if problems else 200), {"errors": [{"message": each} for each in problems], "warnings": []}, {}

    def _preupload(self, asked: Request) -> Answer:
        files = self.repos[asked.repo]["files"]
        ignored = files.get(".gitignore", b"").decode().split()
        told = []
        for each in json.loads(asked.body)["files"]:
            path = each["path"]
            mode = "lfs" if _is_large(path, each["size"]) else "regular"
            told.append({"path": path, "uploadMode": mode, "shouldIgnore": path in ignored})
            if path in files:
                told[-1]["oid"] = _oid(path, files[path])
        return 200, {"files": told}, {}

    def _lfs_batch(self, asked: Request) -> Answer:
        batch = json.loads(asked.body)
        if "basic" not in batch["transfers"] or batch["operation"] != "upload":
            return _refuse(422, "only uploads by basic transfer")
        told = []
        for each in batch["objects"]:
            entry = {"oid": each["oid"], "size": each["size"]}
            if each["oid"] not in self._objects:
                key = secrets.token_hex(8)
                self._expected[key] = (each["oid"], each["size"])
                entry["actions"] = {
                    "upload": {"href": f"{self.url}/objects/{key}"},
                    "verify": {"href": f"{self.url}/api/models/{asked.repo}/lfs-verify"},
                }
            told.append(entry)
        return 200, {"transfer": "basic", "objects": told}, {}

    def _receive_object(self, asked: Request) -> Answer:
        """Storage outside of the Hub: the address is the permission."""
        if asked.key not in self._expected:
            return _refuse(403, "SignatureDoesNotMatch")
        if (hashlib.sha256(asked.body).hexdigest(), len(asked.body)) != self._expected[asked.key]:
            return _refuse(400, "BadDigest")
        self._objects[self._expected[asked.key][0]] = asked.body
        return 200, b"", {}

    def _verify_object(self, asked: Request) -> Answer:
        announced = json.loads(asked.body)
        has_it = len(self._objects.get(announced["oid"], b"")) == announced["size"]
        return (200, {}, {}) if has_it else _refuse(404, "There is no such object")

    def _commit(self, asked: Request) -> Answer:
        header, *operations = [json.loads(line) for line in asked.body.splitlines() if line.strip()]
        files = dict(self.repos[asked.repo]["files"])
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile" and value["oid"] in self._objects:
                files[value["path"]] = self._objects[value["oid"]]
            else:
                return _refuse(400, f"cannot {operation['key']} {value['path']}: no such object")
        told: dict[str, Any] = {"success": True, "hookOutput": ""}
        if asked.for_pull_request:
            requests = self.repos[asked.repo].setdefault("pull_requests", [])
            requests.append({"files": files, "who": asked.who})
            told |= {"pullRequestUrl": f"{self.url}/{asked.repo}/discussions/{len(requests)}", "commitOid": "9" * 40}
        else:
            parent, commits = header["value"].get("parentCommit"), self.repos[asked.repo]["commits"]
            if parent and commits and parent != commits[-1]["oid"]:
                return _refuse(412, "A commit has happened since. Please refresh and try again.")
            self.repos[asked.repo]["files"] = files
            told["commitOid"] = self._add_commit(asked.repo, header["value"]["summary"])
        told["commitUrl"] = f"{self.url}/{asked.repo}/commit/{told['commitOid']}"
        return 200, told, {}

    def _add_commit(self, repo_id: str, summary: str) -> str:
        repo = self.repos[repo_id]
        repo["commits"].append({"oid": secrets.token_hex(20), "summary": summary, "files": dict(repo["files"])})
        return str(repo["commits"][-1]["oid"])

    def _find_commit(self, asked: Request) -> dict[str, Any] | None:
        commits: list[dict[str, Any]] = self.repos[asked.repo]["commits"]
        return next((one for one in reversed(commits) if asked.revision in ("main", one["oid"])), None)

    def _info(self, asked: Request) -> Answer:
        if not (commit := self._find_commit(asked)):
            return _refuse(404, "Invalid rev id", "RevisionNotFound")
        siblings = [{"rfilename": path, "size": len(content)} for path, content in commit["files"].items()]
        about = {"id": asked.repo, "sha": commit["oid"], "private": self.repos[asked.repo]["private"], "tags": []}
        about["gated"] = "manual" if asked.repo in self.gated else False
        return 200, about | {"siblings": siblings}, {}

    def _tree(self, asked: Request) -> Answer:
        if not (commit := self._find_commit(asked)):
            return _refuse(404, "Invalid rev id", "RevisionNotFound")
        entries = []
        for path, content in commit["files"].items():
            entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": _git_oid(content)}
            if _is_large(path, len(content)):
                entry["lfs"] = {"oid": _oid(path, content), "size": len(content), "pointerSize": 130}
            entries.append(entry)
        return 200, entries, {}

    def _resolve(self, asked: Request) -> Answer:
        if asked.repo in self.gated and asked.who not in self.gated[asked.repo]:
            return _refuse(403 if asked.who else 401, f"Access to model {asked.repo} is restricted.", "GatedRepo")
        if not (commit := self._find_commit(asked)):
            return _refuse(404, "Invalid rev id", "RevisionNotFound")
        at_commit = {"X-Repo-Commit": commit["oid"]}
        if asked.path not in commit["files"]:
            status, body, headers = _refuse(404, "Entry not found", "EntryNotFound")
            return status, body, headers | at_commit
        content = commit["files"][asked.path]
        return 200, content, at_commit | {"ETag": f'"{_oid(asked.path, content)}"'}


_REPO = r"(?P<repo>[^/]+/[^/]+?)"
_ROUTES: list[tuple[str, str, Callable[[HubServer, Request], Answer]]] = [  # path, who may, what answers
    (r"/api/whoami-v2", "user", HubServer._whoami),
    (r"/api/repos/create", "user", HubServer._create),
    (r"/api/validate-yaml", "anybody", HubServer._validate_card),
    (rf"/api/models/{_REPO}(/revision/(?P<revision>[^/]+))?", "read", HubServer._info),
    (rf"/api/models/{_REPO}/tree/(?P<revision>[^/]+)/?", "read", HubServer._tree),
    (rf"/api/models/{_REPO}/preupload/main", "write", HubServer._preupload),
    (rf"/api/models/{_REPO}/lfs-verify", "contribute", HubServer._verify_object),
    (rf"/api/models/{_REPO}/commit/main", "write", HubServer._commit),
    (rf"/{_REPO}\.git/info/lfs/objects/batch", "contribute", HubServer._lfs_batch),
    (rf"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "read", HubServer._resolve),
    (r"/objects/(?P<key>[^/]+)", "anybody", HubServer._receive_object),
]


class _Handler(BaseHTTPRequestHandler):
    """HTTP around HubServer.answer."""

    hub: HubServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for the client's acknowledgement
    wbufsize = -1

    def do_GET(self) -> None:
        self._handle()

    def do_HEAD(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def _handle(self) -> None:
        path, query = urlsplit(self.path).path, urlsplit(self.path).query
        length = int(self.headers.get("Content-Length", 0))
        failure = self.hub.take_failure(path)
        if failure and failure.status == CLOSE:
            self.rfile.read(length // 2)
            self.close_connection = True
            return
        body = self.rfile.read(length)
        time.sleep(self.hub.slow_seconds)
        if failure:
            self.hub.requests.append(f"{self.command} {path}")
            status, answer, headers = _refuse(failure.status, failure.message)
            self._send(status, answer, headers | failure.headers)
            return
        token = self.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        self._send(*self.hub.answer(self.command, path, token, body, query))

    def _send(self, status: int, body: Any, headers: dict[str, str]) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if given and status == 200 and isinstance(body, bytes):
            first = int(given[1])
            headers = headers | {"Content-Range": f"bytes {first}-{len(content) - 1}/{len(content)}"}
            status, content = 206, content[first:]
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._write(content)

    def _write(self, content: bytes) -> None:
        cut = self.hub.cut_after
        if cut and len(content) > cut and "/resolve/" in self.path:
            self.close_connection = True
            content = content[:cut]
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep the tests' output readable."""


def _refuse(status: int, message: str, code: str = "") -> Answer:
    headers = {"X-Error-Message": message.replace("\n", " ")}
    return status, {"error": message}, headers | ({"X-Error-Code": code} if code else {})


def _is_large(path: str, size: int) -> bool:
    return path.endswith((".safetensors", ".model", ".bin")) or size > 10_000_000


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _oid(path: str, content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if _is_large(path, len(content)) else _git_oid(content)
