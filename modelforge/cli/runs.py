"""Commands about runs: train a recipe, follow it to its end, look at runs past and present."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelforge.cli.terminal import add_command, add_group, answer, open_forge, print_json, say, table
from modelforge.errors import RunStateError
from modelforge.recipe import Recipe, parse_assignments
from modelforge.runs.messages import describe, describe_metrics
from modelforge.runs.sweep import read_values
from modelforge.scores.metrics import rank
from modelforge.store import RunState

if TYPE_CHECKING:
    from modelforge.runs.service import Run

STOPPED = 130
"""The exit code of what somebody has stopped."""


def add_commands(commands: Any) -> None:
    train = add_command(commands, "train", "train a recipe", train_recipe)
    train.add_argument("recipe", metavar="RECIPE", help="a YAML file")
    train.add_argument("--set", action="append", default=[], metavar="K=V", help="replace a setting, as tuning.r=8")
    sweep = add_command(commands, "sweep", "train a recipe with several values of one or two settings", sweep_recipe)
    sweep.add_argument("recipe", metavar="RECIPE", help="a YAML file")
    sweep.add_argument(
        "--over", action="append", required=True, metavar="K=V,V", help="values, as learning_rate=1e-4,1e-3"
    )
    sweep.add_argument("--set", action="append", default=[], metavar="K=V", help="replace a setting, as tuning.r=8")
    add_command(commands, "demo", "train the starter on a bundled dataset and show before and after", train_demo)

    runs = add_group(commands, "runs", "runs, past and present")
    add_command(runs, "list", "every run, the newest first", list_runs)
    add_command(runs, "show", "one run", show_run).add_argument("id", metavar="ID")
    resume = add_command(runs, "resume", "let a run go on that was paused, interrupted or failed", resume_run)
    resume.add_argument("id", metavar="ID")
    delete = add_command(runs, "delete", "remove a run's log and events; its model stays", delete_run)
    delete.add_argument("id", metavar="ID")


def train_recipe(arguments: argparse.Namespace) -> int:
    recipe = Recipe.from_file(Path(arguments.recipe)).with_settings(parse_assignments(arguments.set))
    return follow(open_forge().runs.start(recipe), as_json=arguments.json)


def sweep_recipe(arguments: argparse.Namespace) -> int:
    """Train one after another, and say at the end which did best."""
    recipe = Recipe.from_file(Path(arguments.recipe)).with_settings(parse_assignments(arguments.set))
    listed = [given.partition("=") for given in arguments.over]
    runs = open_forge().runs.start_sweep(recipe, read_values((name, values) for name, _, values in listed))
    codes = [follow(run, as_json=arguments.json) for run in runs]
    if not arguments.json:
        best = sorted(runs, key=lambda run: rank(run.record.metrics.get("tuned", {})), reverse=True)
        rows = [
            {"id": run.id, "name": run.record.label, "measured": describe_metrics(run.record.metrics.get("tuned", {}))}
            for run in best
        ]
        print(table(rows, ("id", "name", "measured")))
    return max(codes)


def train_demo(arguments: argparse.Namespace) -> int:
    from modelforge.goals import demo_recipe

    return follow(open_forge().runs.start(demo_recipe()), as_json=arguments.json)


class Terminated(Exception):  # noqa: N818 - not an error: somebody wants this process to end
    """SIGTERM came."""


def follow(run: Run, *, as_json: bool, printed: int = 0) -> int:
    """Print a run's events, from number `printed` on, until it ends. Ctrl-C saves a model and stops, SIGTERM saves the
    run and leaves, to be resumed; a second Ctrl-C leaves at once."""
    stopping = False
    signal.signal(signal.SIGTERM, _terminate)
    while True:
        try:
            for event in run.events(printed):
                printed += 1
                print_event(event, as_json=as_json)
            return conclude(run)
        except Terminated:
            say("Saving, to go on another time.")
            with contextlib.suppress(RunStateError):  # it ended just now
                run.pause()
        except KeyboardInterrupt:
            if stopping:
                raise
            stopping = True
            say("Saving and stopping; press Ctrl-C again to leave at once.")
            with contextlib.suppress(RunStateError):  # it ended just now
                run.stop()


def _terminate(*_: Any) -> None:
    raise Terminated


def print_event(event: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(event)
    elif event["type"] != "failed" and (line := describe(event)):  # a failure is said on stderr, at the end
        print(line, flush=True)


def conclude(run: Run) -> int:
    """The exit code of a run that has ended, and the reason on stderr if it failed."""
    last = run.feed.latest
    if run.state is RunState.failed and (failed := last.get("failed")):
        say(" ".join(failed[part] for part in ("where", "what", "fix") if failed[part]))
        return 1
    if run.state is RunState.paused:
        say(f"It can go on with: modelforge runs resume {run.id}")
        return STOPPED
    return STOPPED if "stopped" in last else 0


def list_runs(arguments: argparse.Namespace) -> None:
    runs = open_forge().runs
    rows = [run_row(runs, record) for record in runs.all()]
    answer(arguments, rows, table(rows, ("id", "state", "step", "total_steps", "model_id", "created")))


def show_run(arguments: argparse.Namespace) -> None:
    runs = open_forge().runs
    row = run_row(runs, runs.get(arguments.id))
    answer(arguments, row, json.dumps(row, indent=2, ensure_ascii=False))


def resume_run(arguments: argparse.Namespace) -> int:
    runs = open_forge().runs
    _, told = runs.feed(runs.get(arguments.id).id).since(0)  # what was said before is not said again
    return follow(runs.resume(arguments.id), as_json=arguments.json, printed=told)


def delete_run(arguments: argparse.Namespace) -> None:
    deleted = open_forge().runs.delete(arguments.id)
    answer(arguments, {"deleted": deleted}, f"deleted {deleted}")


def run_row(runs: Any, record: Any) -> dict[str, Any]:
    step, total = runs.progress(record)
    return {
        "id": record.id,
        "state": record.state.value,
        "recipe": record.recipe,
        "step": step,
        "total_steps": total,
        "model_id": record.model_id,
        "created": record.created,
        "started": record.started,
        "finished": record.finished,
        "error": record.error,
    }
