"""Commands about finished models: list, show, delete, generate, evaluate, push to the Hub, import old ones."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelforge.cli.terminal import add_command, add_group, answer, ask, open_forge, say, table, watch_on_terminal

if TYPE_CHECKING:
    from modelforge.models.evaluate import Evaluation
    from modelforge.models.hub import Existing, PushProgress
    from modelforge.models.hub_pull import PullProgress


def add_commands(commands: Any) -> None:
    models = add_group(commands, "models")
    add_command(models, "list", list_models, "every model, the newest first")
    add_command(models, "show", show_model, "one model").add_argument("id", metavar="ID")
    add_command(models, "delete", delete_model, "remove a model and its files").add_argument("id", metavar="ID")
    taken = add_command(models, "import", import_model, "import a PEFT adapter or a model from a folder or the Hub")
    taken.add_argument("source", metavar="FOLDER_OR_ID", help="a folder, or the id of a model on the Hub")
    taken.add_argument("--name", default="", metavar="N", help="its name in the library")
    taken.add_argument("--base-model", default="", metavar="ID", help="of an adapter that does not name its base model")

    generate = add_command(commands, "generate", generate_text)
    generate.add_argument("model", metavar="MODEL", help="id, unique prefix or name")
    inputs = generate.add_argument_group("input; - reads it from stdin")
    inputs.add_argument("--prompt", metavar="T", help="a prompt")
    inputs.add_argument("--document", metavar="T", help="a text to summarise")
    inputs.add_argument("--context", metavar="T", help="a text that contains the answer")
    inputs.add_argument("--question", metavar="T", help="a question that the context answers")
    generate.add_argument("--base", action="store_true", help="use the untrained base model")
    generate.add_argument("--max-new-tokens", type=int, default=256, metavar="N")
    generate.add_argument("--seed", type=int, metavar="N")
    generate.add_argument(
        "--temperature", type=float, default=0.0, metavar="X", help="0 always takes the most likely token (default)"
    )
    for name, kind in (("top_p", float), ("min_p", float), ("top_k", int), ("repetition_penalty", float)):
        generate.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="X", help=describe_setting(name))
    generate.add_argument("--engine", choices=("auto", "transformers"), help=describe_setting("engine"))

    evaluate = add_command(commands, "evaluate", evaluate_model)
    evaluate.add_argument("model", metavar="MODEL", help="id, unique prefix or name")
    evaluate.add_argument("--data", type=Path, metavar="FILE", help="use the rows of this file instead")
    evaluate.add_argument("--limit", type=int, metavar="N", help="use at most N rows, evenly spaced")
    evaluate.add_argument(
        "--against", metavar="MODEL", help="compare with this model, not with what training started from"
    )

    push = add_command(commands, "push", push_model)
    push.add_argument("model", metavar="MODEL")
    push.add_argument("repo_id", metavar="REPO_ID", help="owner/name")
    push.add_argument("--public", action="store_true", help="make the repository public (default: private)")
    push.add_argument("--form", default="", metavar="F", help="adapter, merged or gguf, as it was exported on the page")
    push.add_argument("--folder", type=Path, metavar="DIR", help="push what `export` wrote into this folder")
    push.add_argument(
        "--existing", choices=("commit", "pull-request"), help="what to do if the repository exists (default: nothing)"
    )
    push.add_argument("--yes", action="store_true", help="do not ask whether these files are to be sent")

    legacy = add_command(commands, "import-legacy", import_legacy)
    legacy.add_argument("database", nargs="?", metavar="DB", help="its modelforge.sqlite (default: its usual place)")


def describe_setting(name: str) -> str:
    """What a setting of `generate` does, and its default."""
    from modelforge.models.sampling import Sampling

    field = Sampling.model_fields[name]
    return f"{field.description} (default {field.default})"


def list_models(arguments: argparse.Namespace) -> None:
    models = open_forge().models
    rows = [model_row(models, record) for record in models.all()]
    answer(arguments, rows, table(rows, ("id", "name", "base_model", "task", "tuning", "created")))


def show_model(arguments: argparse.Namespace) -> None:
    models = open_forge().models
    answer(arguments, model_row(models, models.find(arguments.id)))


def delete_model(arguments: argparse.Namespace) -> None:
    deleted = open_forge().models.delete(arguments.id)
    answer(arguments, {"deleted": deleted.id}, f"deleted {deleted.name}")


def import_model(arguments: argparse.Namespace) -> None:
    """Says how much is downloaded before it is."""
    models, told = open_forge().models, False
    watch = watch_on_terminal("downloading")

    def note(progress: PullProgress) -> None:
        nonlocal told
        if not told:
            say(f"{progress.total_bytes:,} bytes are downloaded from {arguments.source}")
        told = True
        if watch:
            watch(progress.received / max(progress.total_bytes, 1))

    record = models.import_model(arguments.source, name=arguments.name, base=arguments.base_model, watch=note)
    answer(arguments, model_row(models, record), f"imported {record.name}: {record.id}")


def model_row(models: Any, record: Any) -> dict[str, Any]:
    if problem := models.find_problem(record):
        say(f"{record.name}: {problem}")
    names = ("id", "name", "base_model", "task", "method", "tuning", "created", "metrics", "custom_base_model")
    return {**{name: getattr(record, name) for name in names}, "path": str(models.path(record))}


def generate_text(arguments: argparse.Namespace) -> None:
    from modelforge.models.sampling import Sampling

    given = read_inputs(arguments)
    forge = open_forge()
    model = forge.models[arguments.model]
    given_settings = {name: getattr(arguments, name) for name in Sampling.model_fields}
    sampling = Sampling.build(**{name: value for name, value in given_settings.items() if value is not None})
    started = time.monotonic()
    found = {}
    if "prompt" in given:
        text = model.chat(given["prompt"], base=arguments.base, sampling=sampling)
    elif "document" in given:
        text = model.summarise(given["document"], base=arguments.base, sampling=sampling)
    else:
        span = model.find_answer(given["context"], given["question"], base=arguments.base)
        text = span.text
        found = {"answer": span.text, "start": span.start, "end": span.end, "score": round(span.score, 6)}
    shape = {
        "text": text,
        "tokens": forge.playground.count_tokens(text),
        "seconds": round(time.monotonic() - started, 3),
        **found,
    }
    answer(arguments, shape, text)


def read_inputs(arguments: argparse.Namespace) -> dict[str, str]:
    """The inputs by name. Exits with 2 unless they are a prompt, a document, or a context and a question."""
    named = {name: getattr(arguments, name) for name in ("prompt", "document", "context", "question")}
    given = {name: text for name, text in named.items() if text is not None}
    if set(given) not in ({"prompt"}, {"document"}, {"context", "question"}):
        arguments.parser.error("give --prompt, or --document, or --context and --question")
    if list(given.values()).count("-") > 1:
        arguments.parser.error("only one of the inputs can be read from stdin")
    return {name: sys.stdin.read() if text == "-" else text for name, text in given.items()}


def evaluate_model(arguments: argparse.Namespace) -> None:
    forge = open_forge()
    model = forge.models[arguments.model]
    against = forge.models.find(arguments.against) if arguments.against else None
    watch = watch_on_terminal("measuring")
    found = model.evaluate(data=arguments.data, limit=arguments.limit, against=against, watch=watch)
    answer(arguments, describe_evaluation(found), write_evaluation(found))


def describe_evaluation(found: Evaluation) -> dict[str, Any]:
    """As JSON. tuned, base, and "before" or "against" where they were measured: metric -> value. compared_with: the
    side that differences and regressions are about, the last of these."""
    measured, side = found.measured, found.measured.against
    return {
        "rows": found.rows,
        "tuned": found.tuned,
        "base": found.base,
        **{name: values for name, values in found.sides.items() if name not in ("tuned", "base")},
        "compared_with": side,
        "difference": {name: each.as_json() for name, each in found.differences.items()},
        "verdict": found.verdict.word,
        "metric": found.verdict.metric,
        "why": found.verdict.why,
        "enough_rows": found.verdict.enough,
        "regressions": [
            {
                "row": each.row,
                "base": each.answers.get(side, ""),
                "tuned": each.answers.get("tuned", ""),
                "expected": each.expected,
            }
            for each in measured.list_regressions()
        ],
        "notes": measured.notes,
        "forgetting": {**found.forgetting, "warning": found.forgot} if found.forgetting else None,
    }


def write_evaluation(found: Evaluation) -> str:
    """As text: the metrics of each side with the interval of the difference, and the verdict."""
    names = [name for name in ("base", "before", "against", "tuned") if name in found.sides]
    rows = [
        {
            "metric": name,
            **{side: f"{found.sides[side][name]:.4g}" if name in found.sides[side] else None for side in names},
            "difference": f"{each.value:+.4g} ({each.low:+.4g} to {each.high:+.4g})" if each else None,
        }
        for name in found.tuned
        for each in [found.differences.get(name)]
    ]
    lost = len(found.measured.list_lost())
    lines = [table(rows, ("metric", *names, "difference")), f"{found.rows} rows; differences with 95% certainty"]
    lines += [f"{found.verdict.word or 'no verdict'}: {found.verdict.why}", *found.measured.notes]
    lines += [found.forgot] if found.forgot else []
    if lost:
        lines.append(f"right before and wrong now: {lost}; --json lists them")
    return "\n".join(lines)


def push_model(arguments: argparse.Namespace) -> int:
    """Lists what is sent before anything is; on a terminal it asks."""
    from modelforge.exports.pushes import find_source, read_export
    from modelforge.models.hub import check_repo_id
    from modelforge.models.hub_files import list_files, make_card, sum_up

    forge = open_forge()
    models = forge.models
    record = models.find(arguments.model)
    repo_id = check_repo_id(arguments.repo_id)
    if arguments.folder:
        source = read_export(models, record, arguments.folder)
    else:
        source = find_source(models, forge.exports, record, arguments.form)
    files = list_files(source, make_card(source, repo_id if "/" in repo_id else None))
    say("\n".join(f"{file.bytes:>13,}  {file.name}" for file in files))
    where = f"{repo_id}, {'public' if arguments.public else 'private'} if it is new"
    say(f"{sum(file.bytes for file in files):>13,}  bytes in {len(files)} files, to {where}")
    if sys.stdin.isatty() and not arguments.yes and not ask("Send them?"):
        say("Nothing was sent.")
        return 1
    existing: dict[str | None, Existing] = {None: "refuse", "commit": "commit", "pull-request": "pull request"}
    result = models.push(
        record.id,
        repo_id,
        source=source,
        private=not arguments.public,
        existing=existing[arguments.existing],
        seen=sum_up(files),
        progress=write_push_progress(),
    )
    for sentence in filter(None, (result.note, result.undo)):
        say(sentence)
    answer(arguments, {"url": result.url, "files": list(result.files)}, result.url)
    return 0


def write_push_progress() -> Callable[[PushProgress], None]:
    """A line for each step and each file that is sent."""
    last = None

    def write(progress: PushProgress) -> None:
        nonlocal last
        now = progress.step, progress.file
        if now != last:
            say(f"{progress.step} {progress.file}: {progress.sent} of {progress.total_bytes} bytes")
        last = now

    return write


def import_legacy(arguments: argparse.Namespace) -> None:
    done = open_forge().legacy.import_models(arguments.database, watch_on_terminal("importing"))
    lines = [f"Imported {done.imported}, skipped {done.skipped}."]
    for problem in done.problems:
        where = ", ".join(part for part in (problem.row, problem.name) if part)
        lines.append(f"{where}{': ' if where else ''}{problem.problem} {problem.fix}")
    answer(arguments, asdict(done), "\n".join(lines))
