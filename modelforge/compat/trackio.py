"""trackio: what it prints on stdout, for which it has no setting: the command line prints JSON there, nothing else."""

from __future__ import annotations

import logging
from typing import Any

log = logging.getLogger("modelforge")


def log_what_it_prints() -> None:
    """From now on its lines go to our log. Redirecting stdout would take the lines of other threads too."""
    import trackio
    from trackio import run, utils

    for module in (trackio, run, utils):
        vars(module)["print"] = _log


def _log(*parts: Any, **_: Any) -> None:
    log.info(" ".join(map(str, parts)))
