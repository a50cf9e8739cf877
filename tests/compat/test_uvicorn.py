"""What `modelforge.compat.uvicorn` reads from a running server."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any

import uvicorn

from modelforge.compat.uvicorn import find_silent, loop_of


async def answer(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def wait_for(server: uvicorn.Server, count: int) -> list[Any]:
    for _ in range(200):
        found = find_silent(server)
        if len(found) == count:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{len(found)} silent connections, not {count}")


def test_connection_that_asked_nothing_is_silent_and_one_that_asked_is_not() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(answer, lifespan="off", log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        with (
            socket.create_connection(listening.getsockname()) as silent,
            socket.create_connection(listening.getsockname()) as asking,
        ):
            wait_for(server, 2)
            asking.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert asking.recv(100).startswith(b"HTTP/1.1 204")
            (transport,) = wait_for(server, 1)
            assert transport.get_extra_info("peername") == silent.getsockname()
            assert isinstance(loop_of(server), asyncio.AbstractEventLoop)
            loop_of(server).call_soon_threadsafe(transport.close)
            assert silent.recv(1) == b""
    finally:
        server.should_exit = True
        thread.join()
