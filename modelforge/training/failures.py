"""Whatever ended a run, as {kind, what, where, fix}."""

from __future__ import annotations

import errno

from modelforge import paths
from modelforge.errors import MemoryFullError, ModelForgeError


def explain_failure(error: BaseException) -> dict[str, str]:
    """{kind, what, where, fix} of whatever ended a run."""
    if isinstance(error, ModelForgeError):
        return {"kind": error.kind, "what": error.what, "where": error.where, "fix": error.fix}
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        full = MemoryFullError(
            "There was not enough memory.",
            fix="Lower per_device_train_batch_size or max_length, or switch gradient_checkpointing on.",
        )
        return explain_failure(full)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return {
            "kind": "disk",
            "what": "The disk is full.",
            "where": str(error.filename or paths.home()),
            "fix": "Free some space and start again.",
        }
    return {
        "kind": "bug",
        "what": f"Something went wrong that should not have: {type(error).__name__}: {error}",
        "where": "",
        "fix": "The run's log has the details; please report it.",
    }
