"""Commands about runs: plan and train a recipe, print events until a run ends; list, show, resume and delete runs."""

from __future__ import annotations

import argparse
import contextlib
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelforge.cli.terminal import (
    STOPPED,
    add_command,
    add_group,
    add_recipe,
    answer,
    open_forge,
    open_records,
    print_json,
    print_line,
    read_recipe,
    say,
    table,
)
from modelforge.errors import RecipeError, RunStateError

if TYPE_CHECKING:
    from modelforge.planner.estimate import Plan
    from modelforge.recipe import Recipe
    from modelforge.runs.comparison import Comparison
    from modelforge.runs.service import Run

PLACES = ("dataset", "eval_dataset", "base_model", "parent", "name", "report_to")
"""The settings that say where things are, and so may differ where a recipe is trained again."""


def add_commands(commands: Any) -> None:
    plan = add_command(commands, "plan", plan_recipe)
    train = add_command(commands, "train", train_recipe)
    sweep = add_command(commands, "sweep", sweep_recipe)
    sweep.add_argument(
        "--over", action="append", required=True, metavar="K=V,V", help="values, for example learning_rate=1e-4,1e-3"
    )
    for command in (plan, train, sweep):
        add_recipe(command)
    train.add_argument(
        "--verify",
        action="store_true",
        help="compare with the curve in the recipe of a finished run; exit code 1 if it differs",
    )
    add_command(commands, "demo", train_demo)

    compared = add_command(commands, "compare", compare_runs)
    compared.add_argument("ids", metavar="RUN", nargs="+")

    runs = add_group(commands, "runs")
    add_command(runs, "list", list_runs, "every run, the newest first")
    for name, help, command in (
        ("show", "one run", show_run),
        ("resume", "resume a run that was paused, interrupted or failed", resume_run),
        (
            "more-data",
            "train on a half and a quarter of a run's data, to tell what more data would give",
            ask_more_data,
        ),
        ("delete", "remove a run's log and events; its model stays", delete_run),
    ):
        made = add_command(runs, name, command, help)
        made.add_argument("id", metavar="ID")
        if name == "show":
            made.add_argument(
                "--recipe", action="store_true", help="its recipe with a proof: data hash, versions, curve"
            )


def plan_recipe(arguments: argparse.Namespace) -> None:
    """A recipe that does not fit is a result, not an error."""
    from modelforge.planner.plan import plan

    recipe = read_recipe(arguments)
    found = plan(recipe, **look_at_rows(recipe), calibrate=True)
    answer(arguments, found.as_json(), describe_plan(found))


def look_at_rows(recipe: Recipe) -> dict[str, Any]:
    """rows, mean_tokens and longest of a local dataset; {} for others, whose time is not estimated."""
    from modelforge import paths
    from modelforge.data.checks import check
    from modelforge.data.lengths import count_pieces, longest_row, mean_row
    from modelforge.data.samples import samples

    sample = next((each for each in samples() if each.name == recipe.dataset), None)
    file = sample.path if sample else paths.existing(recipe.dataset) if recipe.dataset else None
    if file is None or not file.is_file():
        return {}
    report = check(file, recipe.task, dict(recipe.columns), repairs=recipe.repairs)
    rows = report.mapped_rows
    count, mean_tokens = len(rows), mean_row(rows.size, len(rows))
    if report.shape.form == "text" and recipe.long_texts == "divide":
        count, mean_tokens = count_pieces(count, mean_tokens, recipe.max_length)
    return {"rows": count, "mean_tokens": mean_tokens, "longest": longest_row(rows)}


def describe_plan(found: Plan) -> str:
    """The plan as text."""
    from modelforge.hardware import describe_bytes

    lines = [found.sentence]
    if found.memory:
        parts = ("weights", "gradients", "optimizer", "activations", "runtime")
        lines += [f"  {part:12} {describe_bytes(getattr(found.memory, part))}" for part in parts]
    lines += [f"disk: {describe_bytes(found.disk.needed)} needed, {describe_bytes(found.disk.free)} free"]
    if found.seconds:
        lines += [f"time: {found.time}, training at {found.tokens_per_second:.0f} tokens a second"]
    lines += [f"- {reason}" for reason in (found.compute.reasons if found.compute else ())]
    lines += [f"To make it fit: {each.sentence}" for each in found.advice]
    if found.quicker and found.fits:
        settings = " ".join(f"--set {name}={value}" for name, value in found.quicker.settings.items())
        lines += [f"To save time: {found.quicker.sentence} ({settings})"]
    return "\n".join(lines)


def train_recipe(arguments: argparse.Namespace) -> int:
    if arguments.verify:
        return verify_recipe(arguments)
    recipe = read_recipe(arguments)
    expect_run()
    return follow([open_forge().runs.start(recipe)], as_json=arguments.json)


def expect_run() -> None:
    """A run asks the planner, whose process takes as long to start as this one. Its threads share one arena, which is
    set before there are any."""
    from modelforge.compute.memory import share_one_arena
    from modelforge.planner.service import SERVICE

    share_one_arena()
    SERVICE.expect_question()


def verify_recipe(arguments: argparse.Namespace) -> int:
    """Train a finished run's recipe again. Prints at the end whether the curve matches, as an event with --json."""
    from modelforge.recipe import parse_assignments, read_proof
    from modelforge.recipe.yaml_text import read_text

    proof = read_proof(read_text(Path(arguments.recipe)), where=arguments.recipe)
    recipe = read_recipe(arguments)
    if changed := sorted(parse_assignments(arguments.set).keys() - PLACES):
        what = f"With --verify a recipe is trained as it is; {changed[0]} cannot be set."
        raise RecipeError(what, where="--set", fix=f"Only {', '.join(PLACES)} can: where to find them.")
    expect_run()
    runs = open_forge().runs
    run = runs.start_again(recipe, proof)
    code = follow([run], as_json=arguments.json)
    if code:
        return code
    found = runs.verify(run.id, proof)
    if arguments.json:
        print_json({"type": "verified", "run_id": run.id, **found.as_json()})
    else:
        print_line(found.sentence)
    return 0 if found.matches else 1


def sweep_recipe(arguments: argparse.Namespace) -> int:
    """Train one run after another, then print a table of them, best first."""
    from modelforge.runs.event_text import describe_metrics
    from modelforge.runs.sweep import read_values
    from modelforge.scores.metrics import rank

    recipe = read_recipe(arguments)
    listed = [given.partition("=") for given in arguments.over]
    expect_run()
    runs = open_forge().runs.start_sweep(recipe, read_values((name, values) for name, _, values in listed))
    code = follow(runs, as_json=arguments.json)
    if not arguments.json and code != STOPPED:
        best = sorted(runs, key=lambda run: rank(run.record.metrics.get("tuned", {})), reverse=True)
        rows = [
            {"id": run.id, "name": run.record.label, "measured": describe_metrics(run.record.metrics.get("tuned", {}))}
            for run in best
        ]
        print_line(table(rows, ("id", "name", "measured")))
    return code


def train_demo(arguments: argparse.Namespace) -> int:
    from modelforge.goals import demo_recipe

    expect_run()
    return follow([open_forge().runs.start(demo_recipe())], as_json=arguments.json)


def follow(runs: Sequence[Run], *, as_json: bool | None, printed: int = 0) -> int:
    """Print the events of runs, one run after another, until all have ended. Returns the exit code.

    as_json: None prints them as text on stderr, for a command whose result is something else. printed: how many events
    of the first run to leave out. Ctrl-C saves a model and stops, a second Ctrl-C exits at once. SIGTERM saves the run
    in progress, to be resumed. Either way the runs that wait are paused.
    """
    # In a thread: a signal can come while this one holds a lock that pausing needs.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=_pause, args=(runs,)).start())
    codes = []
    for index, run in enumerate(runs):
        codes.append(_follow(run, runs[index + 1 :], as_json=as_json, printed=0 if index else printed))
    return max(codes, default=0)


def _follow(run: Run, later: Sequence[Run], *, as_json: bool | None, printed: int) -> int:
    stopping = False
    while True:
        try:
            for event in run.events(printed):
                printed += 1
                print_event(event, as_json=as_json)
            return conclude(run)
        except KeyboardInterrupt:
            if stopping:
                raise
            stopping = True
            say("Saving and stopping; press Ctrl-C again to exit at once.")
            _end([run.stop, *(each.pause for each in later)])


def _pause(runs: Sequence[Run]) -> None:
    say("Saving, to be resumed later.")
    _end([run.pause for run in runs])


def _end(calls: Sequence[Callable[[], None]]) -> None:
    for call in reversed(calls):  # the last run first, so that none of them starts
        with contextlib.suppress(RunStateError):  # it has ended already
            call()


def print_event(event: dict[str, Any], *, as_json: bool | None) -> None:
    from modelforge.runs.event_text import describe_event

    if as_json:
        print_json(event)
    elif event["type"] != "failed" and (line := describe_event(event)):  # a failure is printed on stderr, at the end
        (say if as_json is None else print_line)(line)


def conclude(run: Run) -> int:
    """The exit code of a run that has ended, and the reason on stderr if it failed."""
    from modelforge.store import RunState

    state = run.state
    if state is RunState.paused:
        say(f"To resume it: modelforge runs resume {run.id}")
    elif state not in (RunState.finished, RunState.stopped):  # failed, or its end could not be written
        failed = run.feed.latest["failed"]
        say(" ".join(failed[part] for part in ("where", "what", "fix") if failed[part]))
        return 1
    return 0 if state is RunState.finished else STOPPED


def list_runs(arguments: argparse.Namespace) -> None:
    runs = open_records()
    rows = [run_row(runs, record) for record in runs.all()]
    answer(arguments, rows, table(rows, ("id", "state", "step", "total_steps", "model_id", "created")))


def show_run(arguments: argparse.Namespace) -> None:
    if arguments.recipe:
        text = open_forge().runs.write_proof(arguments.id)
        answer(arguments, {"recipe": text}, text.rstrip())
    else:
        runs = open_records()
        answer(arguments, run_row(runs, runs.get(arguments.id)))


def resume_run(arguments: argparse.Namespace) -> int:
    runs = open_forge().runs
    _, printed = runs.feed(runs.get(arguments.id).id).since(0)  # only the events from now on
    expect_run()
    return follow([runs.resume(arguments.id)], as_json=arguments.json, printed=printed)


def compare_runs(arguments: argparse.Namespace) -> None:
    found = open_forge().runs.compare(arguments.ids)
    for note in found.notes if arguments.json else ():
        say(note)
    answer(arguments, found.as_json(), describe_comparison(found))


def describe_comparison(found: Comparison) -> str:
    """A line for each setting that differs and for each metric, a column for each run."""
    from modelforge.scores.titles import write_difference, write_measured

    runs = [record.id for record in found.runs]
    rows = [dict(zip(runs, [record.label or "-" for record in found.runs], strict=True)) | {"": "name"}]
    rows += [
        {"": name, **dict(zip(runs, values, strict=True))} for name, values in found.settings.items() if name != "name"
    ]
    for name, values in found.metrics.items():
        changes = found.differences.get(name, [None] * len(runs))
        pairs = zip(values, changes, strict=True)
        cells = ["-" if value is None else write_measured(name, value, change) for value, change in pairs]
        rows.append({"": name, **dict(zip(runs, cells, strict=True))})
    for name, changes in found.from_first.items():
        cells = [write_difference(name, change) or "-" for change in changes]
        rows.append({"": f"{name}, from the first run", **dict(zip(runs, cells, strict=True))})
    return "\n".join([table(rows, ("", *runs)), *found.notes])


def ask_more_data(arguments: argparse.Namespace) -> int:
    """Train the smaller runs, unless they are there, and print what all three tell."""
    runs = open_forge().runs
    record = runs.get(arguments.id)
    smaller = runs.start_smaller(record.id)
    code = follow([run for run in smaller if run.state.active], as_json=None)
    found = runs.describe_growth(record.id)
    data = f"{found.data.word}. {found.data.why}" if found.data else "the smaller runs have not finished."
    answer(arguments, found.as_json(), f"epochs: {found.epochs.word}. {found.epochs.why}\ndata: {data}")
    return code


def delete_run(arguments: argparse.Namespace) -> None:
    deleted = open_forge().runs.delete(arguments.id)
    answer(arguments, {"deleted": deleted}, f"deleted {deleted}")


def run_row(runs: Any, record: Any) -> dict[str, Any]:
    step, total = runs.progress(record)
    names = ("id", "state", "recipe", "step", "total_steps", "model_id", "created", "started", "finished", "error")
    now = {"state": record.state.value, "step": step, "total_steps": total}
    return {**{name: getattr(record, name) for name in names}, **now}
