"""Programs in processes of their own, which need not load torch, transformers, TRL and PEFT each: that takes twelve
seconds, and what they do one.

They are forked from one process that has loaded these libraries and done nothing else. What a program is given, prints,
catches and exits with is its own. What a library reads from the environment when it is loaded is not.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

MODELFORGE = "import sys; from modelforge.cli import main; sys.exit(main(sys.argv[1:]))"
"""`modelforge ...`"""
WITHOUT_A_PLAN = "from modelforge.planner.service import SERVICE; SERVICE.ask = lambda *_, **__: None\n" + MODELFORGE
"""The same as it trains where the planner does not answer: that process takes as long to start as this one."""
TRAINING = ("modelforge.training.run", *(f"trl.trainer.{name}_trainer" for name in ("sft", "dpo", "kto", "grpo")))


@dataclass
class Program:
    """A program that runs, as a `subprocess.Popen`. stdout: what it prints."""

    pid: int
    stdout: IO[str]
    _stderr: IO[str]
    _ended: IO[str]
    returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        if self.returncode is None and select.select([self._ended], [], [], 0)[0]:
            self.returncode = int(self._ended.readline())
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None and not select.select([self._ended], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(f"program {self.pid}", timeout or 0)
        return self.poll() or 0

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def read_stderr(self) -> str:
        """What it has said so far."""
        self._stderr.seek(0)
        return self._stderr.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.poll() is None:
            self.kill()
        for file in (self.stdout, self._stderr, self._ended):
            file.close()


class Programs:
    """Starts programs. Use as ``with Programs() as programs``; the process that they come from starts with the first.

    modules: what it loads besides those of a training. environment: what it loads them with.
    """

    def __init__(self, *modules: str, environment: Mapping[str, str] | None = None) -> None:
        self._modules, self._environment = modules, environment or os.environ
        self._channel: socket.socket | None = None
        self._source: subprocess.Popen[bytes] | None = None

    def start(
        self,
        code: str,
        *arguments: object,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        log: IO[str] | None = None,
    ) -> Program:
        """Run code as ``python -c code arguments`` does, with no input. log: where all that it prints goes."""
        if self._channel is None:
            self._channel = self._open()
        request = {"code": code, "arguments": [*map(str, arguments)], "cwd": str(cwd or Path.cwd())}
        out, ended = os.pipe(), os.pipe()
        stderr = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed with the program
        with tempfile.TemporaryFile("w+", encoding="utf-8") as asked:
            json.dump(request | {"env": {**(env or os.environ)}}, asked)
            asked.seek(0)
            files = [out[1], stderr.fileno()] if log is None else [log.fileno()] * 2
            socket.send_fds(self._channel, [b"."], [asked.fileno(), *files, ended[1]])
        for end in (out[1], ended[1]):
            os.close(end)
        said = os.fdopen(ended[0])
        return Program(int(said.readline()), os.fdopen(out[0], encoding="utf-8"), stderr, said)

    def run(self, code: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """The same, to its end."""
        with self.start(code, *arguments, **options) as program:
            out, exit_code = program.stdout.read(), program.wait()
            return subprocess.CompletedProcess([*map(str, arguments)], exit_code, out, program.read_stderr())

    def _open(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        root = Path(__file__).parents[1]
        self._source = subprocess.Popen(
            [sys.executable, "-m", "tests.programs", str(theirs.fileno()), *TRAINING, *self._modules],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=root,
            env={**self._environment, "PYTHONPATH": str(root)},
        )
        theirs.close()
        return ours

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._channel and self._source:
            self._channel.close()  # it then ends
            self._source.wait()


def serve(channel: socket.socket) -> str:
    """Fork for each request until there are none. Returns in the process of a program: the code that it is to run."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while files := socket.recv_fds(channel, 1, 4)[1]:
        if not os.fork():
            return serve_one(channel, *files)
        for file in files:
            os.close(file)
    os._exit(0)


def serve_one(channel: socket.socket, asked: int, out: int, err: int, ended: int) -> str:
    """Fork again: this process waits for the program and reports its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    channel.close()
    if not (pid := os.fork()):
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.close(ended)
        with os.fdopen(asked, encoding="utf-8") as file:
            return become(json.load(file))
    os.close(out)
    with os.fdopen(ended, "w") as told:
        print(pid, file=told, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=told, flush=True)
    os._exit(0)


def become(request: dict[str, Any]) -> str:
    """Be as a process is that was started so; returns its code."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    # Those of the process that this one comes from know that they are no pipes.
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", buffering=1, closefd=False)
    sys.argv = ["-c", *request["arguments"]]
    return str(request["code"])


if __name__ == "__main__":
    for name in sys.argv[2:]:
        importlib.import_module(name)
    gc.freeze()  # what is loaded is not copied for a collection of garbage
    code = serve(socket.socket(fileno=int(sys.argv[1])))
    exec(code, {"__name__": "__main__"})  # noqa: S102 - of a test
