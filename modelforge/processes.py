"""Python processes that the app starts: they load modules from where this one does, never from the folder it is in.

A file `yaml.py` that came with somebody's dataset would be run otherwise: Python looks in the working folder first.
"""

from __future__ import annotations

import sys
from pathlib import Path

_RUN = "import runpy, sys; sys.path.append(sys.argv.pop(1)); runpy.run_module(sys.argv.pop(1), None, '__main__', True)"


def python_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module, of ours or of a library, as ``python -m`` does."""
    return [sys.executable, "-P", "-c", _RUN, str(Path(__file__).parents[1]), module, *arguments]
