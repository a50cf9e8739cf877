"""What a recipe needs on this machine, before it starts: memory, disk, time; whether it fits; what would make it fit.

`plan` computes it in this process, `service` in a separate one, which everything but the command `plan` uses. Nothing
here downloads weights.
"""

from __future__ import annotations

from modelforge.planner.disk import RUN_BYTES, check_disk
from modelforge.planner.estimate import Advice, Plan
from modelforge.planner.limits import check_limits, limits_of
from modelforge.planner.plan import plan, record_outcome, refuse

__all__ = [
    "RUN_BYTES",
    "Advice",
    "Plan",
    "check_disk",
    "check_limits",
    "limits_of",
    "plan",
    "record_outcome",
    "refuse",
]
