"""Seconds from starting a process until the app's page answers, beside an empty Gradio app; and of the two commands
that one types most, beside a Python that does nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from tests.bench.app_use import free_port, wait_for_answer
from tests.bench.figures import Figure, Options, Row, Skipped, alternate, summarise
from tests.bench.processes import ROOT, environment_of

NOTHING = "python -c pass"
APP = Row("app answers", "an empty Gradio app", "s", 1.25, "lower", main=True)
HELP = Row("modelforge --help", NOTHING, "s", 0.2, "lower", judged="value", main=True)
LIST = Row("modelforge runs list", NOTHING, "s", 0.3, "lower", judged="value", main=True)
ROWS = (APP, HELP, LIST)
EMPTY_APP = """
import gradio as gr, sys
with gr.Blocks(analytics_enabled=False) as page:
    pass
page.launch(server_name="127.0.0.1", server_port=int(sys.argv[1]), quiet=True)
"""


def measure(options: Options) -> list[Figure | Skipped]:
    """Five pairs of apps, and ten rounds of commands; those before fill the file cache."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        python = [sys.executable, "-c"]
        ours, empty = alternate(
            options.pairs(5, quick=3),
            partial(time_app, [sys.executable, "-m", "modelforge.cli", "ui", "--no-browser", "--port"], home),
            partial(time_app, [*python, EMPTY_APP], home),
            warm=True,
        )
        command = find_command()
        help, listed, nothing = alternate(
            10,
            partial(time_command, [command, "--help"], home),
            partial(time_command, [command, "runs", "list"], home),
            partial(time_command, [*python, "pass"], home),
            warm=True,
        )
    return [summarise(APP, ours, empty), summarise(HELP, help, nothing), summarise(LIST, listed, nothing)]


def find_command() -> str:
    """`modelforge` beside the Python that runs this."""
    found = shutil.which("modelforge", path=str(Path(sys.executable).parent))
    if found is None:
        raise RuntimeError("the command modelforge is not installed: run make install")
    return found


def time_app(command: list[str], home: Path) -> float:
    port = free_port()
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, str(port)], cwd=ROOT, env=environment_of(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for_answer(process, port)
        return time.perf_counter() - began
    finally:
        process.kill()
        process.wait()


def time_command(command: list[str], home: Path) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=ROOT, env=environment_of(home), stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began
