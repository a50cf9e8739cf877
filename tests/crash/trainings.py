"""A process that trains again and again, each time in a child of its own that may be killed: `python -m
tests.crash.trainings PLAN`, a JSON file with a list of trainings.

Torch is loaded once and used in the children alone, so that a hundred kills take a minute.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from functools import cache
from pathlib import Path
from typing import Any

KILLED = -signal.SIGKILL


def main(plan: Path) -> None:
    import trl  # noqa: F401 - loaded before the children come

    from modelforge.planner.service import SERVICE
    from modelforge.training import run
    from modelforge.training.methods import sft_decoder  # noqa: F401

    assert run
    for training in json.loads(plan.read_text()):
        # Planned here, once: a planner's process for each child would take longer than its steps.
        planned = plan_once(json.dumps(training["recipe"]), len(training["rows"]))
        SERVICE.ask = lambda *_, planned=planned, **__: planned  # type: ignore[method-assign]
        child = os.fork()
        if not child:
            carry_out(**training)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"folder": training["folder"], "code": os.waitstatus_to_exitcode(status)}), flush=True)


@cache
def plan_once(recipe: str, rows: int) -> Any:
    from modelforge.planner.estimate import Machine, Rows
    from modelforge.planner.plan import plan_for
    from modelforge.recipe import Recipe

    return plan_for(Recipe.build(json.loads(recipe)), Machine.here(), Rows(rows))


def carry_out(
    *, folder: str, recipe: dict[str, Any], rows: list[Any], kill_after: int = 0, kill_in: str = "", at_step: int = 0
) -> None:
    """Train in a folder, writing each event to its events.jsonl. kill_after: the step after which SIGKILL strikes;
    kill_in: or the function of `checkpoints` in which it does, in the checkpoint of `at_step`."""
    from modelforge.recipe import Recipe
    from modelforge.training import checkpoints
    from modelforge.training.run import Job, train

    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)

    def die(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if kill_in:
        whole = getattr(checkpoints, kill_in)

        def strike(*given: Any, **more: Any) -> Any:
            if f"checkpoint-{at_step}" in str(given[0]) or at_step in (given[1] if kill_in == "keep_only" else ()):
                die()
            return whole(*given, **more)

        setattr(checkpoints, kill_in, strike)

    with (place / "events.jsonl").open("a") as file:

        def emit(type: str, **fields: Any) -> None:
            file.write(json.dumps({"type": type, **fields}) + "\n")
            file.flush()
            if type == "progress" and fields["step"] == kill_after:
                die()

        train(Job("run-0", Recipe.build(recipe), rows, {"id": "dataset-0"}, place, emit, lambda: False))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
