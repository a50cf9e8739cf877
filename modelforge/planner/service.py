"""The planner in a separate process.

It computes for seconds and holds the interpreter meanwhile: in the app's process, that would block pages and slow down
a run or a chat. The process starts with the first question, ends after a while without one, and is killed when
an answer takes too long. Run as a module, this file is that process.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import psutil
from pydantic import TypeAdapter

from modelforge import hardware, paths, warmup
from modelforge.caller import OWNER, Caller, acting_as, current_caller
from modelforge.compute.memory import used_bytes
from modelforge.errors import BaseModelError, RecipeError
from modelforge.hardware import Hardware, Probe
from modelforge.planner.estimate import Calibrate, Machine, Plan, Rows
from modelforge.planner.plan import plan_for
from modelforge.processes import python_command
from modelforge.recipe import Recipe

log = logging.getLogger("modelforge")

IDLE_SECONDS = 180.0  # it holds some hundred megabytes
LONGEST_SECONDS = 90.0  # nobody waits longer for an answer
KEPT = 100  # answers
KEPT_SECONDS = 60.0  # free memory and disk change


@dataclass(frozen=True)
class Answer:
    """A plan; or refusal, why such a recipe cannot be trained here; or failure, what broke, with its traceback."""

    plan: Plan | None = None
    refusal: dict[str, str] | None = None
    failure: str = ""


@dataclass(frozen=True)
class Question:
    """What is asked. calibrate: run micro-steps for the time, where they are cheap. is_local: `Caller.is_local`."""

    recipe: Recipe
    rows: Rows
    with_advice: bool = False
    calibrate: bool = False
    is_local: bool = True


@dataclass(frozen=True)
class Task:
    """A question as the process gets it. probe: None where the machine was not measured yet: then the process does it,
    which loads torch. process_bytes, has_torch: of the app, as in `Machine`. home: where the outcomes of earlier runs
    are."""

    question: Question
    hardware: Hardware
    probe: Probe | None
    process_bytes: int
    has_torch: bool
    home: str

    @classmethod
    def here(cls, question: Question) -> Task:
        """Asked by this process. Loads no torch."""
        hardware.use_one_card()
        held, has_torch = used_bytes("cpu"), "torch" in sys.modules
        return cls(question, hardware.detect(), hardware.find_probe(), held, has_torch, str(paths.home()))

    @property
    def machine(self) -> Machine:
        return Machine(self.hardware, self.probe or hardware.probe(), self.process_bytes, self.has_torch)


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


class PlannerService:
    """Asks one question at a time, the newest first, and caches the answers for a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._answers: OrderedDict[str, tuple[float, Answer]] = OrderedDict()
        self._asked: dict[str, tuple[Question, threading.Event]] = {}
        self._waiting: list[str] = []
        self._current: Question | None = None
        self._interrupted = False
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None

    def ask(
        self,
        recipe: Recipe,
        rows: Rows,
        *,
        seconds: float = LONGEST_SECONDS,
        with_advice: bool = False,
        calibrate: bool = False,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Plan | None:
        """The plan, if it is ready within that many seconds; else None, also where the planner fails.

        meanwhile: called several times a second; what it raises ends the waiting.
        calibrate: time steps of a small model if they are cheap; the next question of anybody interrupts it. Raises
        RecipeError for what cannot be trained here.
        """
        nameless = recipe.model_copy(update={"name": ""})
        question = Question(nameless, rows, with_advice, calibrate, current_caller().is_local)
        key = f"{paths.home()} {_adapter(Question).dump_json(question).decode()}"
        with self._lock:
            found = self._known(key)
            if key not in self._asked:
                self._interrupt(with_advice=found is None)
            if found is None:
                done = self._enqueue(key, question)
        if found is None:
            until = time.monotonic() + seconds
            while not done.wait(min(0.2, max(until - time.monotonic(), 0.0))) and time.monotonic() < until:
                meanwhile()
            with self._lock:
                found = self._known(key)
        if found and found.refusal:
            raise RecipeError(**found.refusal)
        return found.plan if found else None

    def expect_question(self) -> None:
        """Start the process, where a question is sure to follow: it loads its libraries while the caller loads its
        own."""
        with self._lock:
            if self._thread is None and self._process is None:
                self._process = _start()

    def _interrupt(self, *, with_advice: bool) -> None:
        """Advice and micro-steps take long, and are about what was in the form before."""
        if self._process is None or self._current is None:
            return
        if self._current.with_advice and with_advice:
            self._interrupted = True
            _kill(self._process)
        elif self._current.calibrate:
            self._interrupted = True
            _kill_children(self._process)  # it then answers without them

    def _enqueue(self, key: str, question: Question) -> threading.Event:
        if key not in self._asked:
            self._asked[key] = question, threading.Event()
            self._waiting.append(key)
            self._arrived.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="modelforge-planner", daemon=True)
            self._thread.start()
        return self._asked[key][-1]

    def _known(self, key: str) -> Answer | None:
        answered, found = self._answers.get(key, (0.0, None))
        return found if time.monotonic() - answered < KEPT_SECONDS else None

    def _work(self) -> None:
        while True:
            with self._arrived:
                if not self._arrived.wait_for(lambda: self._waiting, IDLE_SECONDS):
                    self._end()
                    continue
                key = self._waiting.pop()
                question, _ = self._asked[key]
                self._current, self._interrupted = question, False
            found = self._answer(question)
            with self._lock:
                self._current = None
                if found.failure:
                    log.error("The planner failed: %s", found.failure)
                elif found != Answer():
                    self._answers.pop(key, None)
                    self._answers[key] = time.monotonic(), found
                while len(self._answers) > KEPT:
                    self._answers.popitem(last=False)
                # Of the questions that arrived meanwhile, as somebody typed, only the newest matter.
                for each in (key, *self._waiting[:-4]):
                    self._asked.pop(each)[-1].set()
                del self._waiting[:-4]

    def _answer(self, question: Question) -> Answer:
        try:
            return self._put(_adapter(Task).dump_json(Task.here(question)).decode())
        except Exception:  # noqa: BLE001 - the caller is waiting, whatever happened
            return Answer() if self._interrupted else Answer(failure=traceback.format_exc())

    def _put(self, task: str) -> Answer:
        """Send it to the process, started where there is none; one that is too slow is killed."""
        process = self._process
        if process is None or process.poll() is not None:
            warmup.wait()  # both load torch: one after the other, or the first page waits for both
            process = self._process = _start()
        assert process.stdin and process.stdout  # noqa: S101 - both are pipes
        alarm = threading.Timer(LONGEST_SECONDS, _kill, [process])
        alarm.daemon = True
        alarm.start()
        try:
            process.stdin.write(task + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""  # the exit code says more
        finally:
            alarm.cancel()
        if self._interrupted:
            return Answer()
        if not line:
            return Answer(failure=f"its process ended with exit code {process.wait()}, or took too long")
        found: Answer = _adapter(Answer).validate_json(line)
        return found

    def _end(self) -> None:
        if self._process is not None:
            _kill(self._process)
            self._process.wait()
            self._process = None


SERVICE = PlannerService()
"""The one planner of this process: it holds a process, and a machine does not need two of them."""


def _start() -> subprocess.Popen[str]:
    command = python_command("modelforge.planner.service", str(os.getpid()))
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def _kill(process: subprocess.Popen[str]) -> None:
    _kill_children(process)
    process.kill()


def _kill_children(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def answer(line: str) -> Answer:
    """The process's answer to one question."""
    task: Task = _adapter(Task).validate_json(line)
    os.environ["MODELFORGE_HOME"] = task.home
    asked = task.question
    calibrate: Calibrate = "cheap" if asked.calibrate else "nothing"
    caller = OWNER if asked.is_local else Caller(is_owner=False, is_local=False)
    try:
        with acting_as(caller):
            made = plan_for(asked.recipe, task.machine, asked.rows, calibrate=calibrate, with_advice=asked.with_advice)
    except (RecipeError, BaseModelError) as error:
        return Answer(refusal={"what": error.what, "where": error.where, "fix": error.fix})
    except Exception:  # noqa: BLE001 - reported by the app; a model that cannot be planned may still be trained
        return Answer(failure=traceback.format_exc())
    return Answer(made)


def main() -> None:
    """Answer lines until there are none; what libraries print is dropped. The argument is the pid of the app."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if hasattr(os, "nice"):
        os.nice(10)  # a run has priority
    threading.Thread(target=_end_with_app, args=(int(sys.argv[1]),), daemon=True).start()
    import modelforge.planner.simulation  # noqa: F401 - with its libraries, whatever the first question is

    for line in sys.stdin:
        output.write(_adapter(Answer).dump_json(answer(line)).decode() + "\n")
        output.flush()


def _end_with_app(app: int) -> None:
    """Nobody needs the answer once the app is gone."""
    while os.getppid() == app:
        time.sleep(1.0)
    os._exit(0)


if __name__ == "__main__":
    main()
