"""Processes: how Python ones are started, and whether one that left something behind is still alive.

The Python processes that the app starts load modules from where this one does, never from the folder it is in. A file
`yaml.py` that came with somebody's dataset would be run otherwise: Python looks in the working folder first.
"""

from __future__ import annotations

import sys
from pathlib import Path

import psutil

_RUN = (
    "import runpy, sys; sys.path[:0] = filter(None, [sys.argv.pop(1)]); sys.path.append(sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), None, '__main__', True)"
)


def python_command(module: str, *arguments: str, first: Path | None = None) -> list[str]:
    """The command that runs a module, of ours or of a library, as ``python -m`` does. first: a folder whose modules are
    preferred to installed ones of the same name."""
    places = ("" if first is None else str(first), str(Path(__file__).parents[1]))
    return [sys.executable, "-P", "-c", _RUN, *places, module, *arguments]


def find_start_time(process: psutil.Process) -> float:
    """When a process was started, in seconds by a clock that is never adjusted.

    Linux counts from the system's start, and psutil adds a time that changes when the clock is corrected, as it is when
    a laptop wakes: all processes would seem to be gone.
    """
    return process.create_time() - (psutil.boot_time() if psutil.LINUX else 0.0)


def is_alive(pid: int, started: float) -> bool:
    """Whether the process with this pid and start time (see `find_start_time`) is still running."""
    try:
        process = psutil.Process(pid)
        same = abs(find_start_time(process) - started) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE  # killed, and not yet reaped by its parent
    except psutil.Error:  # gone, or another user's by now
        return False
