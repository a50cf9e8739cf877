"""The command that serves a model."""

from __future__ import annotations

import argparse
from typing import Any

from modelforge.cli.terminal import add_command, answer, open_forge, say
from modelforge.serve.server import DEFAULT_HOST, DEFAULT_PORT
from modelforge.serve.snippets import KEY


def add_commands(commands: Any) -> None:
    serve = add_command(commands, "serve", serve_model)
    serve.add_argument("model", metavar="MODEL", help="id, unique prefix or name")
    serve.add_argument(
        "--host", default=DEFAULT_HOST, metavar="H", help=f"address to listen on (default {DEFAULT_HOST})"
    )
    serve.add_argument(
        "--port", type=int, default=DEFAULT_PORT, metavar="P", help=f"0 takes any free one (default {DEFAULT_PORT})"
    )


def serve_model(arguments: argparse.Namespace) -> None:
    """Stays until Ctrl-C or SIGTERM."""
    from modelforge.threads import share_processor

    share_processor()
    forge = open_forge()
    server, key = forge.serving.start(arguments.model, host=arguments.host, port=arguments.port)
    try:
        names = [server.record.name, f"{server.record.name}-base"]
        shown = f"the key {key} (shown only now)" if key else f"the key in {KEY}"
        lines = [f"{names[0]!r} and its base {names[1]!r} are served at {server.address} with {shown}."]
        lines += [f"\n# {title}\n{text}" for title, text in server.snippets.items()]
        answer(arguments, {"address": server.address, "models": names, "key": key or None}, "\n".join(lines))
        say("Press Ctrl-C to stop.")
        reason = forge.playground.engine.prepare(server.record)  # until it is done, transformers answers
        say(f"Answers come from transformers: {reason.rstrip('.')}." if reason else "Answers come from llama.cpp.")
        server.wait()
    finally:
        server.stop()
        forge.playground.unload()
