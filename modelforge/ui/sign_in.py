"""Nobody gets past this ASGI middleware without being known, but to the page where people sign in.

It says for each request who asks (`scope[CALLER]`). In local mode that is always the owner.
"""

from __future__ import annotations

import html
import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, unquote

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelforge import paths, quotas
from modelforge.caller import OWNER, Caller, acting_as
from modelforge.errors import AccessError
from modelforge.hosts import LOOPBACK, host_name
from modelforge.ui.look.events import CALLER, PEOPLE
from modelforge.ui.middleware import path_of
from modelforge.ui.people import SIGNED_IN_SECONDS, People
from modelforge.ui.space import NO_SIGN_IN

COOKIE = "modelforge"
OPEN_TO_STRANGERS = frozenset(
    {"/login", "/login/", "/favicon.ico", "/gradio_api/startup-events", "/login/huggingface", "/login/callback"}
)
"""All that a stranger gets: by the third Gradio finds out whether it runs; the last two on a Space only."""
LARGEST_FORM_BYTES = 4_000


class SignIn:
    """people: None in local mode. with_hub: people sign in with their account on the Hub. in_frame: the page is in a
    frame of the Hub's, where browsers send no other cookies than those for all sites."""

    def __init__(self, app: ASGIApp, people: People | None, *, with_hub: bool = False, in_frame: bool = False) -> None:
        self.app = app
        self.people = people
        self.with_hub = with_hub
        self.way = "hub" if with_hub else "none" if people is not None and not people.can_sign_in else "password"
        self.cookie: dict[str, Any] = {"samesite": "none", "secure": True} if in_frame else {"samesite": "lax"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self.people is None:
            is_local = host_name(Headers(scope=scope).get("host", "")) in LOOPBACK
            await self.app({**scope, CALLER: replace(OWNER, is_local=is_local)}, receive, send)
            return
        root = scope.get("root_path", "")
        path = path_of(scope)
        request = Request(scope, receive)
        key = self._find_key(request)
        caller = self.people.find(key)
        if path.rstrip("/") == "/login":
            answer: ASGIApp = await self._open_page(request, root)
        elif path.rstrip("/") == "/logout" and not self.with_hub:
            self.people.sign_out(key)
            answer = RedirectResponse(f"{root}/login", 303)
            answer.delete_cookie(COOKIE, httponly=True, **self.cookie)
        elif caller is None and not (path in OPEN_TO_STRANGERS and (self.with_hub or "/login" not in path)):
            wants_page = scope["method"] == "GET" and path in ("", "/")
            answer = RedirectResponse(f"{root}/login", 303) if wants_page else _refuse("Sign in first.", 401)
        elif caller is not None and not self._is_own(path, request, caller):
            answer = _refuse("This belongs to somebody else.", 403)
        elif caller and path.startswith("/gradio_api/upload") and (refused := _refuse_upload(request, caller)):
            answer = refused
        else:
            await self._pass_on(scope, receive, send, key, caller)
            return
        await answer(scope, receive, send)

    def _find_key(self, request: Request) -> str:
        kept = request.session.get("person") if "session" in request.scope else None
        return str(kept or request.cookies.get(COOKIE, ""))

    async def _open_page(self, request: Request, root: str) -> Response:
        """The page where people sign in; its form comes back to it."""
        assert self.people is not None  # noqa: S101 - asked before
        if request.method != "POST":
            return _draw_page(way=self.way)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LARGEST_FORM_BYTES:
                return _draw_page("This is too long for a name and a password.", 413, way=self.way)
        given = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
        try:
            key = self.people.sign_in(given.get("username", [""])[0], given.get("password", [""])[0])
        except AccessError as error:
            status = 429 if "too many" in error.what else 401
            return _draw_page(str(error), status, way=self.way)
        answer = RedirectResponse(f"{root}/", 303)
        answer.set_cookie(COOKIE, key, max_age=SIGNED_IN_SECONDS, httponly=True, **self.cookie)
        return answer

    def _is_own(self, path: str, request: Request, caller: Caller) -> bool:
        """Of what is named in addresses: files, and the pages whose events are streamed."""
        assert self.people is not None  # noqa: S101 - asked before
        _, _, rest = path.partition("/gradio_api/")
        if rest.startswith("file="):
            return self.people.claim(f"file:{unquote(rest.removeprefix('file='))}", caller)
        page = request.query_params.get("session_hash", "")
        if rest.startswith(("heartbeat/", "stream/")):
            page = rest.split("/")[1]
        return not page or self.people.claim(f"page:{page}", caller)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, key: str, caller: Caller | None) -> None:
        """To the app. What the Hub said at a sign-in, with the token, stays here: it is not put into the cookie."""
        assert self.people is not None  # noqa: S101 - asked before
        people, outer = self.people, scope.get("session")
        inner = {**scope, CALLER: caller, PEOPLE: people}
        if outer is not None:
            oauth = people.find_oauth(key)
            inner["session"] = type(outer)({**outer, **({"oauth_info": oauth} if oauth else {})})
        uploader = caller if scope["path"].endswith("/gradio_api/upload") else None

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and outer is not None:
                self._keep_oauth(inner["session"], outer, key)
            if uploader and message["type"] == "http.response.body" and message.get("body"):
                for file in _read_files(message["body"]):
                    people.share(f"file:{file}", uploader)
            await send(message)

        await self.app(inner, receive, answer)

    def _keep_oauth(self, inner: dict[str, Any], outer: dict[str, Any], key: str) -> None:
        assert self.people is not None  # noqa: S101 - asked before
        oauth = inner.get("oauth_info")
        before = self.people.find_oauth(key)
        wanted = {name: value for name, value in inner.items() if name != "oauth_info"}
        if oauth and oauth != before:
            self.people.sign_out(key)
            wanted["person"] = self.people.remember(self.people.recognise(oauth), oauth)
        elif before and not oauth:
            self.people.sign_out(key)
            wanted.pop("person", None)
        if wanted != dict(outer):
            outer.clear()
            outer.update(wanted)


def _refuse_upload(request: Request, caller: Caller) -> Response | None:
    if not caller.may_train:
        return _refuse("This link is for chatting: files cannot be uploaded.", 403)
    with acting_as(caller):
        limits = quotas.current()
    length = request.headers.get("content-length", "")
    if request.method == "POST" and limits and not (length.isdecimal() and int(length) <= limits.upload_mb * 1e6):
        return _refuse(f"A file may have {limits.upload_mb:g} MB here. {quotas.ASK}", 413)
    return None


def _read_files(body: bytes) -> list[str]:
    """The paths that an upload answers with."""
    try:
        found = json.loads(body)
    except ValueError:
        return []
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _refuse(sentence: str, status: int) -> Response:
    return JSONResponse({"error": sentence, "detail": sentence}, status)


def _draw_page(problem: str = "", status: int = 200, *, way: str) -> Response:
    """way: "hub", "password", or "none" on a Space where nobody can sign in yet."""
    page = paths.asset("sign_in.html").read_text(encoding="utf-8")
    problem = NO_SIGN_IN if way == "none" else problem
    shown = f'<p class="problem" role="alert">{html.escape(problem)}</p>' if problem else ""
    return HTMLResponse(page.replace("{{problem}}", shown).replace("{{way}}", way), status)
