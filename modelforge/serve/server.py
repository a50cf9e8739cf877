"""Puts the API on a port, in a thread of its own, and takes it off again."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

from modelforge.caller import OWNER, acting_as
from modelforge.connections import limit_silent_connections
from modelforge.errors import AccessError, RecipeError
from modelforge.hosts import LOOPBACK, Hosts
from modelforge.models.chat import Playground
from modelforge.serve.snippets import KEY, write_snippets
from modelforge.store import ModelRecord

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8000
MOST_CONNECTIONS = 100
_LEAVES_WITHIN = 5.0  # seconds that answers in progress have when the server stops
SHORTEST_KEY = 8


class Server:
    """One served model. It listens from `start` to `stop`.

    host: this machine alone unless another is given. port 0: any free one. key: of `choose_key`.
    """

    def __init__(
        self, playground: Playground, record: ModelRecord, key: str, *, host: str = DEFAULT_HOST, port: int = 0
    ) -> None:
        if record.architecture != "decoder":
            raise RecipeError(
                f"{record.name} is a model for {record.task}: it cannot chat.",
                where=record.name,
                fix="Choose a model that was trained to generate text.",
            )
        self.record, self.key, self.host, self.port = record, key, host, port
        self._playground = playground
        self._server: Any = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """Of the API, as clients take it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104 - only compared
        return f"http://{f'[{host}]' if ':' in host.strip('[]') and '[' not in host else host}:{self.port}/v1"

    @property
    def snippets(self) -> dict[str, str]:
        return write_snippets(self.address, self.record.name)

    def start(self) -> None:
        """Listen. Raises AccessError where that is not possible."""
        import uvicorn

        from modelforge.serve.app import Served, build_app

        listening = _listen(self.host, self.port)
        self.port = listening.getsockname()[1]
        app = build_app(Served(self._playground, self.record, self.key, _find_hosts(self.host)))
        config = uvicorn.Config(
            app,
            log_level="error",
            lifespan="off",
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=int(_LEAVES_WITHIN),
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, args=[listening], name="modelforge-serve", daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)
        limit_silent_connections(self._server)

    def _run(self, listening: socket.socket) -> None:
        with acting_as(OWNER):  # who has the key
            self._server.run(sockets=[listening])

    def wait(self) -> None:
        """Until it is stopped."""
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(1.0)  # so that Ctrl-C gets through

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(_LEAVES_WITHIN + 2)


def choose_key(environment: Mapping[str, str] = os.environ) -> tuple[str, bool]:
    """(the key, whether it was made now): from MODELFORGE_API_KEY, else a new one. Raises AccessError for a short
    one."""
    given = environment.get(KEY, "")
    if given and (len(given) < SHORTEST_KEY or not given.isascii() or given != given.strip()):
        what = f"The key must have at least {SHORTEST_KEY} characters, plain letters, digits and signs without spaces."
        raise AccessError(what, where=KEY, fix="Set another one, or none to have one made.")
    return (given, False) if given else (f"mf-{secrets.token_urlsafe(24)}", True)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, proto)
        if os.name != "nt":  # there it would let two programs share a port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
    except OverflowError as error:
        raise AccessError("A port is a number from 0 to 65535.", where="--port") from error
    except socket.gaierror as error:
        raise AccessError(f"{host} is not an address of this machine.", where="--host") from error
    except OSError as error:
        raise AccessError(
            f"The server cannot listen on port {port} of {host}: {error.strerror or error}.",
            where="--port",
            fix="Choose another port with --port; 0 takes any free one.",
        ) from error
    return listening


def _find_hosts(host: str) -> Hosts:
    if host.lower() in LOOPBACK:
        return Hosts()
    here = socket.gethostname().lower()
    return Hosts(frozenset({host.lower(), here, f"{here}.local"}), any_address=True)
