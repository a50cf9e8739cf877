"""The same services on a terminal. Names, JSON and exit codes are fixed: other programs call them.

Exit 0 done, 1 a problem of the user's making (a message on stderr, no traceback), 2 wrong usage, 130 stopped.
With --json, stdout carries JSON only; everything else goes to stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelforge import __version__
from modelforge.data.repairs import REPAIRS
from modelforge.errors import ModelForgeError, RecipeError, RunStateError
from modelforge.recipe import Recipe, parse_assignments, parse_task
from modelforge.training.words import describe

if TYPE_CHECKING:
    from modelforge.forge import Forge
    from modelforge.training.runs import Run

STOPPED = 130


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = build_parser().parse_args(argv)
    quieten_libraries()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without a character shows a question mark for it
    try:
        code: int = arguments.command(arguments) or 0
        return code
    except ModelForgeError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("Stopped.")
        return STOPPED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has seen enough
        return 0


def build_parser() -> argparse.ArgumentParser:
    """Every command; each has the function that carries it out as its default `command`."""
    parser = argparse.ArgumentParser(
        prog="modelforge", description="Fine-tune a language model on the machine you have."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(where: Any, name: str, help: str, command: Callable[[argparse.Namespace], int | None]) -> Any:
        made = where.add_parser(name, help=help, description=help)
        made.set_defaults(command=command)
        made.add_argument("--json", action="store_true", help="print JSON only on stdout")
        return made

    ui = add(commands, "ui", "open the app in the browser", open_ui)
    ui.add_argument("--host", help="address to listen on (default 127.0.0.1); another one needs --auth")
    ui.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    ui.add_argument("--share", action="store_true", help="make a public link; needs --auth")
    ui.add_argument("--auth", metavar="USER:PASS", help="ask for this name and password")
    ui.add_argument("--no-browser", action="store_true", help="do not open a browser tab")

    add(commands, "hardware", "what this machine is and what it can train", show_hardware)
    add(commands, "starter", "fetch the models that work without the Hub", fetch_starters)

    data = commands.add_parser("data", help="look at a dataset").add_subparsers(metavar="COMMAND", required=True)
    check = add(data, "check", "read a file and report what is in it and what is wrong with it", check_data)
    check.add_argument("file", metavar="FILE", help="a file, or owner/name of a dataset of the Hub")
    check.add_argument("--task", help="what it is for (default: found out)")
    check.add_argument(
        "--map", action="append", default=[], metavar="ROLE=COLUMN", help="which column plays which role"
    )
    check.add_argument(
        "--repair", action="append", default=[], metavar="NAME", help=f"what may be mended: {', '.join(REPAIRS)}"
    )
    check.add_argument("--config", metavar="NAME", help="config of a dataset of the Hub")
    check.add_argument("--split", metavar="NAME", help="split of a dataset of the Hub (default: train)")
    check.add_argument("--evaluation", metavar="FILE", help="a file to measure with: search it for rows seen in FILE")
    check.add_argument("--problems", metavar="CSV", help="write all problems into this table")

    train = add(commands, "train", "train a recipe", train_recipe)
    train.add_argument("recipe", metavar="RECIPE", help="a YAML file")
    train.add_argument("--set", action="append", default=[], metavar="K=V", help="replace a setting, as tuning.r=8")
    add(commands, "demo", "train the starter on a bundled dataset and show before and after", train_demo)

    runs = commands.add_parser("runs", help="runs, past and present").add_subparsers(metavar="COMMAND", required=True)
    add(runs, "list", "every run, the newest first", list_runs)
    add(runs, "show", "one run", show_run).add_argument("id", metavar="ID")
    add(runs, "delete", "remove a run's log and events; its model stays", delete_run).add_argument("id", metavar="ID")

    models = commands.add_parser("models", help="finished models").add_subparsers(metavar="COMMAND", required=True)
    add(models, "list", "every model, the newest first", list_models)
    add(models, "show", "one model", show_model).add_argument("id", metavar="ID")
    add(models, "delete", "remove a model and its files", delete_model).add_argument("id", metavar="ID")

    generate = add(commands, "generate", "let a model answer", generate_text)
    generate.add_argument("model", metavar="MODEL", help="id, unique prefix or name")
    generate.add_argument("--prompt", required=True, metavar="T", help="what to say to it")
    generate.add_argument("--base", action="store_true", help="let the untrained base model answer")
    generate.add_argument("--max-new-tokens", type=int, default=256, metavar="N")
    generate.add_argument("--seed", type=int, metavar="N")
    generate.add_argument(
        "--temperature", type=float, default=0.0, metavar="X", help="0 always takes the likeliest word"
    )

    push = add(
        commands, "push", "send a model to the Hugging Face Hub (token from HF_TOKEN or the hub login)", push_model
    )
    push.add_argument("model", metavar="MODEL")
    push.add_argument("repo_id", metavar="REPO_ID", help="owner/name")
    push.add_argument("--public", action="store_true", help="let everybody see it (default: private)")
    return parser


def open_ui(arguments: argparse.Namespace) -> int:
    from modelforge.ui.app import serve

    serve(
        host=arguments.host,
        port=arguments.port,
        share=arguments.share,
        auth=arguments.auth,
        open_browser=not arguments.no_browser,
    )
    return 0


def show_hardware(arguments: argparse.Namespace) -> None:
    from modelforge import catalog, hardware
    from modelforge.recipe import Task

    found = hardware.detect()
    shape = hardware.as_json(found, {task.value: catalog.recommended(found, task) for task in Task})
    text = [found.sentence]
    text += [
        f"{device.kind:5} {device.name}, {hardware.describe_bytes(device.memory_bytes)}" for device in found.devices
    ]
    text += [f"disk  {hardware.describe_bytes(found.free_disk_bytes)} free"]
    answer(arguments, shape, "\n".join(text))


def fetch_starters(arguments: argparse.Namespace) -> None:
    from modelforge import starter

    fetched = []
    for one in starter.STARTERS.values():
        if not starter.is_fetched(one.id):
            say(f"Fetching {one.id} ...")
        fetched.append({"id": one.id, "path": str(starter.ensure(one.id)), "source": one.source})
    answer(arguments, {"models": fetched}, "\n".join(f"{model['id']}: {model['path']}" for model in fetched))


def check_data(arguments: argparse.Namespace) -> int:
    from modelforge.data import hub_dataset
    from modelforge.data.checks import check
    from modelforge.data.leaks import find_leaks

    path = Path(arguments.file)
    if not path.exists() and "/" in arguments.file and hub_dataset.looks_like_id(arguments.file):
        path = hub_dataset.fetch(arguments.file, arguments.config, arguments.split)
    task = parse_task(arguments.task) if arguments.task else None
    columns = _parse_mapping(arguments.map) or None
    report = check(path, task, columns, repairs=arguments.repair, watch=_tell_progress())
    shape = report.to_json()
    lines = list(describe_report(shape, report.unused_columns))
    if arguments.problems:
        report.all_problems.write_csv(Path(arguments.problems))
    if arguments.evaluation:
        other = check(Path(arguments.evaluation), report.task, columns, shape=report.shape.name)
        leaks = find_leaks(report.mapped_rows, other.mapped_rows)
        shape["leaks"] = [
            {
                "evaluation_row": other.mapped_rows.number(leak.evaluation_row - 1),
                "training_row": report.mapped_rows.number(leak.training_row - 1),
                "kind": leak.kind,
            }
            for leak in leaks
        ]
        lines += [
            f"leak: row {leak['evaluation_row']} there is row {leak['training_row']} here: {leak['kind']}"
            for leak in shape["leaks"]
        ]
    answer(arguments, shape, "\n".join(lines))
    return 0 if shape["ok"] else 1


def describe_report(shape: dict[str, Any], unused: tuple[str, ...]) -> Iterator[str]:
    """A report in words, line by line."""
    counts = shape["counts"]
    yield f"{shape['file']}: {', '.join(filter(None, (shape['format'], shape['encoding'])))}, {shape['rows']} rows"
    yield f"{shape['task']}, {shape['shape']}: " + ", ".join(
        f"{role} = {col}" for role, col in shape["mapping"].items()
    )
    if unused:
        yield f"not used: {', '.join(unused)}"
    for problem in shape["problems"]:
        places = [f"{name} {problem[name]}" for name in ("row", "line", "column") if problem[name] is not None]
        yield f"{problem['severity']}: {', '.join(places) or 'file'}: {problem['problem']} {problem['fix']}"
    for name, count in shape["repairs"].items():
        state = f"{count['done']} done" if count["done"] else f"would mend {count['possible']} (--repair {name})"
        yield f"{REPAIRS[name].title.lower()}: {state}"
    yield (
        f"{counts['errors']} errors, {counts['warnings']} warnings, {counts['duplicates']} duplicates, "
        f"{shape['usable']} usable rows: " + ("ready to train" if shape["ok"] else "not ready")
    )


def _tell_progress() -> Callable[[float], None] | None:
    """Says on a terminal how far the reading is; a program that reads us is not told."""
    if not sys.stderr.isatty():
        return None
    return lambda share: print(f"\rreading: {share:4.0%}", end="\n" if share >= 1 else "", file=sys.stderr, flush=True)


def train_recipe(arguments: argparse.Namespace) -> int:
    recipe = Recipe.from_file(Path(arguments.recipe)).with_settings(parse_assignments(arguments.set))
    return follow(_forge(), recipe, as_json=arguments.json)


def train_demo(arguments: argparse.Namespace) -> int:
    from modelforge.goals import demo_recipe

    return follow(_forge(), demo_recipe(), as_json=arguments.json)


def follow(forge: Forge, recipe: Recipe, *, as_json: bool) -> int:
    """Start a run and print its events until it ends. Ctrl-C saves and stops; a second one leaves at once."""
    run = forge.runs.start(recipe)
    printed, stopping = 0, False
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
            say("Saving and stopping; press Ctrl-C again to leave at once.")
            with contextlib.suppress(RunStateError):  # it ended just now
                run.stop()


def print_event(event: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(event)
    elif event["type"] != "failed" and (line := describe(event)):  # a failure is said on stderr, at the end
        print(line, flush=True)


def conclude(run: Run) -> int:
    """The exit code of a run that has ended, and the reason on stderr if it failed."""
    last = run.feed.latest
    if failed := last.get("failed"):
        say(" ".join(failed[part] for part in ("where", "what", "fix") if failed[part]))
        return 1
    return STOPPED if "stopped" in last else 0


def list_runs(arguments: argparse.Namespace) -> None:
    runs = _forge().runs
    rows = [run_row(runs, record) for record in runs.all()]
    answer(arguments, rows, table(rows, ("id", "state", "step", "total_steps", "model_id", "created")))


def show_run(arguments: argparse.Namespace) -> None:
    runs = _forge().runs
    row = run_row(runs, runs.get(arguments.id))
    answer(arguments, row, json.dumps(row, indent=2, ensure_ascii=False))


def delete_run(arguments: argparse.Namespace) -> None:
    deleted = _forge().runs.delete(arguments.id)
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


def list_models(arguments: argparse.Namespace) -> None:
    models = _forge().models
    rows = [model_row(models, record) for record in models.all()]
    answer(arguments, rows, table(rows, ("id", "name", "base_model", "task", "tuning", "created")))


def show_model(arguments: argparse.Namespace) -> None:
    models = _forge().models
    row = model_row(models, models.find(arguments.id))
    answer(arguments, row, json.dumps(row, indent=2, ensure_ascii=False))


def delete_model(arguments: argparse.Namespace) -> None:
    deleted = _forge().models.delete(arguments.id)
    answer(arguments, {"deleted": deleted.id}, f"deleted {deleted.name}")


def model_row(models: Any, record: Any) -> dict[str, Any]:
    names = ("id", "name", "base_model", "task", "method", "tuning", "created", "metrics", "custom_base_model")
    return {**{name: getattr(record, name) for name in names}, "path": str(models.path(record))}


def generate_text(arguments: argparse.Namespace) -> None:
    import time

    from modelforge.models.sampling import Sampling

    forge = _forge()
    model = forge.models[arguments.model]
    sampling = Sampling.build(
        max_new_tokens=arguments.max_new_tokens, temperature=arguments.temperature, seed=arguments.seed
    )
    started = time.monotonic()
    text = model.chat(arguments.prompt, base=arguments.base, sampling=sampling)
    shape = {
        "text": text,
        "tokens": forge.playground.count_tokens(text),
        "seconds": round(time.monotonic() - started, 3),
    }
    answer(arguments, shape, text)


def push_model(arguments: argparse.Namespace) -> None:
    forge = _forge()
    result = forge.models.push(
        arguments.model,
        arguments.repo_id,
        private=not arguments.public,
        progress=lambda progress: say(
            f"{progress.step} {progress.file}: {progress.sent} of {progress.total_bytes} bytes"
        ),
    )
    if result.note:
        say(result.note)
    answer(arguments, {"url": result.url, "files": list(result.files)}, result.url)


def answer(arguments: argparse.Namespace, shape: Any, text: str) -> None:
    """Print a result: JSON if asked for, else words."""
    if arguments.json:
        print_json(shape, indent=2)
    else:
        print(text)


def print_json(shape: Any, *, indent: int | None = None) -> None:
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    print(json.dumps(shape, ensure_ascii=not unicode, indent=indent), flush=True)


def table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> str:
    """Rows as aligned text."""
    cells = [columns, *(tuple(str(row[name] if row[name] is not None else "-") for name in columns) for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def quieten_libraries() -> None:
    """No progress bars and no advice of libraries on a terminal that other programs read."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it misses an optional package at every import


def _forge() -> Forge:
    from modelforge.forge import shared_forge

    forge = shared_forge()
    if forge.store.message:
        say(forge.store.message)
    return forge


def _parse_mapping(pairs: list[str]) -> dict[str, str]:
    mapping = {}
    for pair in pairs:
        role, equals, column = pair.partition("=")
        if not equals:
            raise RecipeError(
                f"{pair!r} is not of the form ROLE=COLUMN.", where="--map", fix="For example: --map prompt=question"
            )
        mapping[role] = column
    return mapping


if __name__ == "__main__":
    sys.exit(main())
