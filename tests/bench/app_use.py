"""What one waits for in the open app: the first step after *Start*, and a page's actions while a run is in progress.

The app is the real one on a socket; the page is `page.Page`. Each round opens a new app, waits until its libraries are
loaded and the form has its prediction, acts, starts, and acts again.
"""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests.bench.figures import Figure, Options, Row, Skipped, summarise
from tests.bench.page import Page
from tests.bench.processes import ROOT, environment_of, open_home

FIRST_STEP = Row("first step after Start, starter", "", "s", 5, "lower", judged="value", main=True)
ACTION = Row("page action while training, p95", "the same, idle", "ms", 2, "lower", main=True)
LONGEST = Row("page action while training, p95 in ms", "", "ms", 300, "lower", judged="value", main=True)
ROWS = (FIRST_STEP, ACTION, LONGEST)
ACTIONS = 60
OPENS_WITHIN, STEPS_WITHIN = 120, 300  # seconds


def measure(options: Options) -> list[Figure | Skipped]:
    """Three apps; sixty actions in each, idle and while training."""
    rounds = [measure_once() for _ in range(options.pairs(3))]
    first_steps, idle, training = zip(*rounds, strict=True)
    slow, quiet = ([1000 * each for each in side] for side in (training, idle))
    return [summarise(FIRST_STEP, first_steps), summarise(ACTION, slow, quiet), summarise(LONGEST, slow)]


def measure_once() -> tuple[float, float, float]:
    """Seconds to the first step; the 95th percentile of an action's seconds, idle and while training."""
    with open_home() as home:
        port = free_port()
        command = [sys.executable, "-m", "modelforge.cli", "ui", "--port", str(port), "--no-browser"]
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment_of(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_for_answer(process, port)
            with Page(f"http://127.0.0.1:{port}") as page:
                fill_form(page)
                idle = time_actions(page)
                page.set("set-max_steps", 100_000)  # it trains for as long as it is watched
                began = time.time()
                page.send(page.find("train-start", "click"))
                first_step = wait_for_step(home) - began
                return first_step, idle, time_actions(page)
        finally:
            process.kill()
            process.wait()


def fill_form(page: Page) -> None:
    """As the page does when it is opened: offer the samples, fit the form, and wait for the prediction; it comes when
    the libraries are loaded."""
    for element, event in (("train-dataset", "load"), ("train-what", "change"), ("train-verdict", "change")):
        for handler in page.find_writers(element, event):
            page.send(handler)


def time_actions(page: Page) -> float:
    """The 95th percentile of opening the tabs Models and Dataset, and of the header's news, by turns."""
    wanted = (("models-table", "change"), ("dataset-library", "change"), ("header-machine", "tick"))
    handlers = [page.find_writers(*each)[-1] for each in wanted]
    seconds = []
    for handler in itertools.islice(itertools.cycle(handlers), ACTIONS):
        seconds.append(page.send(handler))
        time.sleep(0.1)
    return percentile(seconds, 0.95)


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[round(share * (len(values) - 1))]


def wait_for_step(home: Path) -> float:
    """The time at which the first step of the only run is told."""
    until = time.monotonic() + STEPS_WITHIN
    while time.monotonic() < until:
        for file in home.glob("runs/*/events.jsonl"):
            if b'"progress"' in file.read_bytes():
                return time.time()
        time.sleep(0.02)
    raise RuntimeError(f"no step in {STEPS_WITHIN} seconds")


def wait_for_answer(process: subprocess.Popen[bytes], port: int) -> float:
    """Seconds from now until the page is answered. Raises RuntimeError where it never is."""
    began = time.perf_counter()
    while time.perf_counter() - began < OPENS_WITHIN:
        if process.poll() is not None:
            raise RuntimeError("the app ended before it answered")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
                answer.read()
                return time.perf_counter() - began
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"the app did not answer in {OPENS_WITHIN} seconds")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
