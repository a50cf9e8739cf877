"""uvicorn: the connections on which nothing was asked yet. It closes those that fall silent after an answer, but has no
setting for those that never ask, and enough of them leave no room for anybody else."""

from __future__ import annotations

import asyncio
from typing import Any


def find_silent(server: Any) -> list[Any]:
    """The transports of such connections of a running uvicorn.Server. To be called in its loop."""
    return [each.transport for each in server.server_state.connections if each.cycle is None]


def loop_of(server: Any) -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = server.servers[0].get_loop()
    return loop
