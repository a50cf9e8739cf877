"""Commands about this machine: the app in the browser, the hardware, the starter models."""

from __future__ import annotations

import argparse
from typing import Any

from modelforge.cli.terminal import add_command, answer, say


def add_commands(commands: Any) -> None:
    ui = add_command(commands, "ui", "open the app in the browser", open_ui)
    ui.add_argument("--host", help="address to listen on (default 127.0.0.1); any other needs --auth")
    ui.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    ui.add_argument("--share", action="store_true", help="make a public link; needs --auth")
    ui.add_argument("--auth", metavar="USER:PASS", help="require this user name and password")
    ui.add_argument("--no-browser", action="store_true", help="do not open a browser tab")

    add_command(commands, "hardware", "show this machine and what it can train", show_hardware)
    add_command(commands, "starter", "download the models that work without the Hub", fetch_starters)


def open_ui(arguments: argparse.Namespace) -> None:
    from modelforge.ui import app
    from modelforge.ui.access import decide_access

    given = {name: getattr(arguments, name) for name in ("host", "port", "share", "auth")}
    app.serve(decide_access(**given), open_browser=not arguments.no_browser)


def show_hardware(arguments: argparse.Namespace) -> None:
    from modelforge import catalog, hardware
    from modelforge.recipe import Task

    found = hardware.detect()
    shape = hardware.as_json(found, {task.value: catalog.recommended(found, task) for task in Task})
    size = hardware.describe_bytes
    devices = [f"{device.kind:5} {device.name}, {size(device.memory_bytes)}" for device in found.devices]
    answer(arguments, shape, "\n".join([found.sentence, *devices, f"disk  {size(found.free_disk_bytes)} free"]))


def fetch_starters(arguments: argparse.Namespace) -> None:
    from modelforge import starter

    fetched = []
    for one in starter.STARTERS.values():
        if not starter.is_fetched(one.id):
            say(f"Downloading {one.id} ...")
        fetched.append({"id": one.id, "path": str(starter.ensure(one.id)), "source": one.source})
    answer(arguments, {"models": fetched}, "\n".join(f"{model['id']}: {model['path']}" for model in fetched))
