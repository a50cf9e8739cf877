"""Closes connections on which nobody asks for anything: strangers could hold all that a process can have."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from modelforge.compat.uvicorn import find_silent, loop_of

LOOKS_EVERY = 2.0  # seconds
SILENT_SECONDS = 20.0
MOST_SILENT = 200


def limit_silent_connections(server: Any) -> None:
    """Watch the connections of a running uvicorn.Server, in its own loop, until it stops."""
    asyncio.run_coroutine_threadsafe(_watch(server), loop_of(server))


async def _watch(server: Any) -> None:
    first_seen: dict[Any, float] = {}
    while not server.should_exit:
        now = time.monotonic()
        first_seen = {each: first_seen.get(each, now) for each in find_silent(server)}
        oldest_first = sorted(first_seen, key=lambda each: first_seen[each])
        late = [each for each in oldest_first if now - first_seen[each] > SILENT_SECONDS]
        for each in {*late, *oldest_first[: max(len(oldest_first) - MOST_SILENT, 0)]}:
            each.close()
        await asyncio.sleep(LOOKS_EVERY)
