"""What a recipe needs on this machine, before it starts: memory, disk, time; whether it fits; what would make it fit.

`plan` answers, `check` refuses, `record_outcome` teaches. Nothing here fetches weights.
"""

from __future__ import annotations

from modelforge.planner.admission import admit
from modelforge.planner.disk import RUN_BYTES, check_disk
from modelforge.planner.limits import check_limits, limits_of
from modelforge.planner.plan import Advice, Plan, check, plan, record_outcome

__all__ = [
    "RUN_BYTES",
    "Advice",
    "Plan",
    "admit",
    "check",
    "check_disk",
    "check_limits",
    "limits_of",
    "plan",
    "record_outcome",
]
