"""Commands about this machine: the app in the browser, the hardware, the starter models."""

from __future__ import annotations

import argparse
import getpass
import sys
from typing import Any

from modelforge.cli.terminal import add_command, answer, say
from modelforge.errors import DownloadError


def add_commands(commands: Any) -> None:
    ui = add_command(commands, "ui", open_ui)
    ui.add_argument("--host", help="address to listen on (default 127.0.0.1); any other needs logins")
    ui.add_argument("--port", type=_read_port, help="port (default: the first free one from 7860)")
    ui.add_argument("--share", action="store_true", help="make a public link for chatting with one model; needs logins")
    ui.add_argument("--model", metavar="MODEL", help="the model of the link (default: the newest)")
    ui.add_argument("--allow-training", action="store_true", help="let everybody who signs in through the link train")
    ui.add_argument("--auth", metavar="NAME", help="sign in with this name; the password is asked for")
    ui.add_argument("--auth-file", metavar="FILE", help="a line name:password for each person, the owner first")
    ui.add_argument("--no-browser", action="store_true", help="do not open a browser tab")

    add_command(commands, "hardware", show_hardware)
    add_command(commands, "starter", fetch_starters)


def open_ui(arguments: argparse.Namespace) -> None:
    from modelforge.ui import app
    from modelforge.ui.access import decide_access

    options = ("host", "port", "share", "auth", "auth_file", "allow_training")
    given = {name: getattr(arguments, name) for name in options}
    model = app.find_shared_model(arguments.model) if arguments.share or arguments.model else ""
    access = decide_access(**given, model=model, ask_password=_ask_password)
    app.serve(access, open_browser=not arguments.no_browser)


def _read_port(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 65_536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port. Use a number from 1 to 65535.")
    return int(text)


def _ask_password(name: str) -> str:
    """From the terminal; where there is none, from the standard input, as from a file."""
    return getpass.getpass(f"Password for {name}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")


def show_hardware(arguments: argparse.Namespace) -> None:
    from modelforge import catalog, hardware
    from modelforge.recipe import Task

    found = hardware.detect()
    shape = hardware.as_json(found, {task.value: catalog.recommended(found, task) for task in Task})
    size = hardware.describe_bytes
    devices = [f"{device.kind:5} {device.name}, {size(device.memory_bytes)}" for device in found.devices]
    answer(arguments, shape, "\n".join([found.sentence, *devices, f"disk  {size(found.free_disk_bytes)} free"]))


def fetch_starters(arguments: argparse.Namespace) -> None:
    """And, where llama.cpp is installed, what makes its files: a converter of 1 MB."""
    from modelforge import starter
    from modelforge.engines.llama import is_installed
    from modelforge.gguf import ensure_converter

    fetched = []
    for one in starter.STARTERS.values():
        if not starter.is_fetched(one.id):
            say(f"Downloading {one.id} ...")
        fetched.append({"id": one.id, "path": str(starter.ensure(one.id)), "source": one.source})
    if is_installed():
        try:
            ensure_converter()
        except DownloadError as error:
            say(f"{error} Until then, transformers answers.")
    answer(arguments, {"models": fetched}, "\n".join(f"{model['id']}: {model['path']}" for model in fetched))
