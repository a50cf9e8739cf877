"""OpenAI's API as an ASGI app: who may ask, what is asked, and the answers, whole or streamed.

Each answer holds one of a few slots. A client that is gone is noticed at the next token, which frees its slot.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import threading
import time
from collections.abc import AsyncIterator, Generator
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from modelforge import warmup
from modelforge.errors import ModelForgeError, NotFoundError, RecipeError
from modelforge.hosts import Hosts, host_name
from modelforge.models.chat import Playground
from modelforge.models.sampling import LENGTH, STOP, Writing
from modelforge.serve.requests import LARGEST_BODY_BYTES, ChatRequest, Drawn, TextRequest, parse_request
from modelforge.serve.responses import END, Reply, describe_error, describe_model, event, list_models
from modelforge.serve.stop_words import stop_at
from modelforge.store import ModelRecord

log = logging.getLogger("modelforge")

MOST_AT_ONCE = 8  # answers; they take turns


@dataclass
class Served:
    """What is served: a model under its name, and its base under another."""

    playground: Playground
    record: ModelRecord
    key: str = field(repr=False)
    hosts: Hosts = field(default_factory=Hosts)
    at_once: int = MOST_AT_ONCE

    def __post_init__(self) -> None:
        self.slots = threading.BoundedSemaphore(self.at_once)
        self.created = int(time.time())
        self.names = {self.record.name: False, f"{self.record.name}-base": True}

    def is_base(self, name: str) -> bool:
        """Whether this name is the base model's. Raises NotFoundError for any other name."""
        if name == self.record.id:
            return False
        if name not in self.names:
            what = f"There is no model {name[:100]!r} here."
            raise NotFoundError(what, where="model", fix=f"Ask for {' or '.join(map(repr, self.names))}.")
        return self.names[name]


def build_app(served: Served) -> ASGIApp:
    """The app, with its checks in front of every route."""

    async def show_models(_: Request) -> Response:
        return JSONResponse(list_models(list(served.names), served.created))

    async def show_model(request: Request) -> Response:
        name = request.path_params["name"]
        served.is_base(name)
        return JSONResponse(describe_model(name, served.created))

    async def chat(request: Request) -> Response:
        return await _answer(served, request, "chat", ChatRequest)

    async def complete(request: Request) -> Response:
        return await _answer(served, request, "text", TextRequest)

    app = Starlette(
        routes=[
            Route("/v1/models", show_models),
            Route("/v1/models/{name:path}", show_model),
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/completions", complete, methods=["POST"]),
        ],
        exception_handlers={
            ModelForgeError: _show_error,
            ClientDisconnect: _say_nothing,
            404: _show_missing,
            405: _show_missing,
            Exception: _show_bug,
        },
    )
    return Checks(app, served)


class Checks:
    """ASGI middleware: the host, the origin and the key of each request. No page of another address may ask, whatever
    it knows."""

    def __init__(self, app: ASGIApp, served: Served) -> None:
        self.app, self.served = app, served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        answer = self._judge(Headers(scope=scope)) or self.app
        await answer(scope, receive, send)

    def _judge(self, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if not self.served.hosts.accept(host_name(host)):
            return _refuse(403, f"This server does not answer to the name {host[:100]!r}.")
        origin = headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != host.lower():
            return _refuse(403, "This server takes no requests from web pages of other addresses.")
        scheme, _, given = headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode(), self.served.key.encode())
        if scheme.lower() != "bearer" or not right:
            what = "This key is not the right one." if given else "There is no key."
            fix = "Send the one that was shown when the server started, as `Authorization: Bearer KEY`."
            return _refuse(401, f"{what} {fix}", code="invalid_api_key")
        return None


async def _answer(served: Served, request: Request, kind: str, shape: type[Drawn]) -> Response:
    asked = parse_request(shape, await _read_body(request))
    base, writing = served.is_base(asked.model), Writing()
    if not served.slots.acquire(blocking=False):
        what = f"{served.at_once} answers are being written, as many as there can be at once. Try again in a moment."
        return _refuse(429, what, type="rate_limit_error", code="busy", headers={"Retry-After": "1"})
    with contextlib.ExitStack() as taken:
        taken.callback(served.slots.release)
        written = _write(served, asked, base=base, writing=writing)
        taken.callback(written.close)
        pieces = iterate_in_threadpool(stop_at(written, asked.stop))
        first = await anext(pieces, ("", False))  # what is refused is refused before a stream begins
        reply = Reply(kind, asked.model, writing)
        if asked.stream:
            return Stream(_list_events(reply, first, pieces, asked.with_usage), taken.pop_all())
        text, stopped = first
        while not stopped and (piece := await anext(pieces, None)):
            if await request.is_disconnected():
                return Response(status_code=499)
            text, stopped = text + piece[0], piece[1]
    return JSONResponse(reply.whole(text, STOP if stopped else writing.ending or LENGTH))


class Stream(StreamingResponse):
    """Server-sent events. taken: what is given back at the end, also where the client has gone before the first one."""

    def __init__(self, events: AsyncIterator[bytes], taken: contextlib.ExitStack) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self.taken = taken

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self.taken:
            await super().__call__(scope, receive, send)


async def _list_events(
    reply: Reply, first: tuple[str, bool], pieces: AsyncIterator[tuple[str, bool]], with_usage: bool
) -> AsyncIterator[bytes]:
    piece: tuple[str, bool] | None = first
    yield event(reply.chunk("", first=True))
    try:
        while piece:
            if piece[0]:
                yield event(reply.chunk(piece[0]))
            if piece[1]:
                break
            piece = await anext(pieces, None)
    except Exception as error:  # noqa: BLE001 - the status was sent: what remains is to say so in the stream
        yield event(_describe(error))
        return
    yield event(reply.chunk("", STOP if piece else reply.writing.ending or LENGTH))
    if with_usage:
        yield event(reply.last())
    yield END


def _write(served: Served, asked: Any, *, base: bool, writing: Writing) -> Generator[str, None, None]:
    warmup.wait()
    yield from served.playground.answer(
        served.record, asked.said, asked.sampling, base=base, writing=writing, whole=True
    )


async def _read_body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY_BYTES:
            raise RecipeError(f"A request may have {LARGEST_BODY_BYTES:,} bytes.", where="body", fix="Shorten it.")
    return body


def _describe(error: Exception) -> dict[str, Any]:
    if not isinstance(error, ModelForgeError):
        log.error("a request to the server failed", exc_info=error)
        return describe_error("Something went wrong here: this is a bug of ModelForge.", type="server_error")
    code = {"model": "model_not_found", "prompt": "context_length_exceeded"}.get(error.where, "")
    own = isinstance(error, RecipeError) or error.where == "model"
    return describe_error(
        f"{error.what} {error.fix}".strip() if own else str(error),
        type="invalid_request_error" if own else "server_error",
        param=error.where if own else "",
        code=code,
    )


async def _show_error(_: Request, error: Exception) -> Response:
    shape = _describe(error)
    where = getattr(error, "where", "")
    status = 500 if shape["error"]["type"] == "server_error" else {"model": 404, "body": 413}.get(where, 400)
    return JSONResponse(shape, status)


async def _show_bug(_: Request, error: Exception) -> Response:
    return JSONResponse(_describe(error), 500)


async def _show_missing(request: Request, _: Exception) -> Response:
    fix = "There are GET /v1/models, POST /v1/chat/completions and POST /v1/completions."
    return _refuse(404, f"There is no {request.method} {request.url.path[:100]} here. {fix}", code="not_found")


async def _say_nothing(_: Request, __: Exception) -> Response:
    return Response(status_code=499)


def _refuse(status: int, message: str, *, headers: dict[str, str] | None = None, **more: str) -> JSONResponse:
    return JSONResponse(describe_error(message, **more), status, headers)
