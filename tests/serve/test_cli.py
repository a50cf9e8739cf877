"""`modelforge serve` as somebody starts it: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelforge.cli import main
from tests.browser.drive import RUN_CLI

KEY = "key-of-the-shell"


@pytest.mark.slow
def test_served_model_answers_until_ctrl_c(model: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUN_CLI, "serve", "Colours", "--port", "0", "--json"]
    environment = {**os.environ, "MODELFORGE_API_KEY": KEY}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    try:
        assert process.stdout
        printed = ""
        while not printed.endswith("\n}\n"):
            line = process.stdout.readline()
            assert line, (tmp_path / "log").read_text()
            printed += line
        told = json.loads(printed)
        assert told["models"] == ["Colours", "Colours-base"] and told["key"] is None
        said = {"model": "Colours", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}
        headers = {"Authorization": f"Bearer {KEY}"}
        answer = httpx.post(f"{told['address']}/chat/completions", json=said, headers=headers, timeout=120)
        assert answer.json()["usage"]["completion_tokens"] == 3
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    assert KEY not in log + printed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [(["Nothing"], "There is no model 'Nothing'"), (["Colours", "--host", "no.such.host"], "not an address of this")],
)
def test_what_cannot_be_served_is_a_sentence(
    model: Any, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert main(["serve", *arguments]) == 1
    assert sentence in capsys.readouterr().err


def test_port_that_is_used_is_a_sentence(model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["serve", "Colours", "--port", str(taken.getsockname()[1])]) == 1
    assert "Choose another port with --port" in capsys.readouterr().err
