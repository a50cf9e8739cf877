"""The command that writes a model in a form that other programs take, and checks it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from modelforge.cli.terminal import add_command, answer, open_forge, say, watch_on_terminal
from modelforge.exports.commands import list_commands
from modelforge.exports.formats import FORMATS
from modelforge.gguf import QUANTIZATIONS
from modelforge.store import ExportRecord, ModelRecord


def add_commands(commands: Any) -> None:
    export = add_command(commands, "export", export_model)
    export.add_argument("model", metavar="MODEL", help="id, unique prefix or name")
    export.add_argument("--format", required=True, choices=list(FORMATS), help="what to write")
    export.add_argument(
        "--quantization", default="", metavar="Q", help=f"of gguf: {', '.join(QUANTIZATIONS)} (default f16)"
    )
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new or empty folder")


def export_model(arguments: argparse.Namespace) -> None:
    forge = open_forge()
    record = forge.models.find(arguments.model)
    draw = watch_on_terminal("exporting")
    watch = (lambda _, share: draw(share)) if draw else None
    out = arguments.out.expanduser().absolute()
    made = forge.exports.write(record.id, arguments.format, arguments.quantization, out, watch)
    for note in made.parity["notes"]:
        say(note)
    files = [str(out / each["name"]) for each in made.files]
    answer(arguments, {"files": files, "parity": made.parity}, describe_export(record, made, out))


def describe_export(record: ModelRecord, made: ExportRecord, out: Path) -> str:
    """As text: the files, how they compare with the model, and the commands that use them."""
    parity = made.parity
    names = [each["name"] for each in made.files]
    lines = [f"{out / each['name']}  {each['bytes'] / 1e6:,.1f} MB" for each in made.files]
    lines.append(
        f"Loaded back with {parity['engine']}, {parity['prompts']} prompts: {parity['token_agreement']:.1%} of "
        f"{parity['tokens']} tokens are the same, loss {parity['loss_before']:.4f} -> {parity['loss_after']:.4f}"
    )
    commands = list_commands(made.format, record.name, record.base_model, str(out), names)
    return "\n".join([*lines, *(f"{program}: {command}" for program, command in commands.items())])
