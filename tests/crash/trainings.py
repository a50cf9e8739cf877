"""A program that trains again and again, each time in a child of its own that may be killed. Its argument is a JSON
file with a list of trainings. Torch is used in the children alone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

KILLED = -signal.SIGKILL


def main() -> None:
    from modelforge.planner.service import SERVICE
    from modelforge.training.methods import sft_decoder  # noqa: F401 - loaded before the children come

    # Without a plan, as where the planner does not answer: its process for each child would take longer than its steps.
    SERVICE.ask = lambda *_, **__: None  # type: ignore[method-assign]
    for training in json.loads(Path(sys.argv[1]).read_text()):
        child = os.fork()
        if not child:
            carry_out(**training)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"folder": training["folder"], "code": os.waitstatus_to_exitcode(status)}), flush=True)


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
