"""Seconds from starting the process until the page answers: ModelForge and an empty Gradio app, alternating."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

EMPTY_APP = """
import gradio as gr, sys
with gr.Blocks(analytics_enabled=False) as page:
    pass
page.launch(server_name="127.0.0.1", server_port=int(sys.argv[1]), quiet=True)
"""


def report(pairs: int) -> None:
    empty, ours = [], []
    with tempfile.TemporaryDirectory() as home:
        environment = {
            **os.environ,
            "MODELFORGE_HOME": home,
            "HF_HUB_OFFLINE": "1",
            "GRADIO_ANALYTICS_ENABLED": "False",
        }
        for pair in range(pairs + 1):
            port = str(_free_port())
            first = _seconds_to_answer([sys.executable, "-c", EMPTY_APP, port], port, environment)
            port = str(_free_port())
            command = [sys.executable, "-m", "modelforge.cli", "ui", "--port", port, "--no-browser"]
            second = _seconds_to_answer(command, port, environment)
            if pair:  # the first pair fills the file cache
                empty.append(first)
                ours.append(second)
    ratios = sorted(mine / other for mine, other in zip(ours, empty, strict=True))
    print("\nUntil the page answers (seconds, median of pairs)")
    print(f"  empty Gradio app  {statistics.median(empty):.2f}")
    print(f"  ModelForge        {statistics.median(ours):.2f}")
    print(f"  ratio             {statistics.median(ratios):.2f}  (from {ratios[0]:.2f} to {ratios[-1]:.2f})")


def _seconds_to_answer(command: list[str], port: str, environment: dict[str, str]) -> float:
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while time.perf_counter() - start < 120:
            if process.poll() is not None:
                raise RuntimeError(f"{command[:4]} ended before it answered")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
                    answer.read()
                    return time.perf_counter() - start
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"{command[:4]} did not answer in two minutes")
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
