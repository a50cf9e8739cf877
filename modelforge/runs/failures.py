"""What ended a run, in words: its kind, what happened, where, and how to fix it."""

from __future__ import annotations

from modelforge import paths
from modelforge.errors import MemoryFullError, ModelForgeError, is_disk_full
from modelforge.planner.advice import LESS_MEMORY


def explain_failure(error: BaseException) -> dict[str, str]:
    """{kind, what, where, fix} of an error that ended a run; one that no user caused is called a bug."""
    if isinstance(error, ModelForgeError):
        return {"kind": error.kind, "what": error.what, "where": error.where, "fix": error.fix}
    if _is_out_of_memory(error):
        return explain_failure(MemoryFullError("There was not enough memory.", fix=LESS_MEMORY))
    if is_disk_full(error):
        return {
            "kind": "disk",
            "what": "The disk is full.",
            "where": str(getattr(error, "filename", None) or paths.home()),
            "fix": "Free some space and start again.",
        }
    return {
        "kind": "bug",
        "what": f"Unexpected error: {type(error).__name__}: {error}",
        "where": "",
        "fix": "This is a bug in ModelForge. Please report it with the run's log.",
    }


def _is_out_of_memory(error: BaseException) -> bool:
    """On a CPU torch raises a plain RuntimeError."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
