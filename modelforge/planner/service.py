"""The planner in a process of its own.

It computes for seconds, and while it does it replaces functions of torch: in the app's process that would hold pages up
and disturb a run or a chat. The process is started when it is first asked, ends when nobody has asked for a while, and
is killed when an answer takes too long. Run as a module, this file is that process.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from modelforge import paths, warmup
from modelforge.errors import RecipeError
from modelforge.planner.estimate import Machine, Plan, Rows
from modelforge.planner.plan import plan_for
from modelforge.recipe import Recipe

log = logging.getLogger("modelforge")

IDLE_SECONDS = 180.0  # it holds some hundred megabytes
LONGEST_SECONDS = 90.0  # a sentence nobody waits for any more is not worth more
KEPT = 100  # answers
KEPT_SECONDS = 60.0  # free memory and disk change


@dataclass(frozen=True)
class Answer:
    """A plan; or refusal, why such a recipe cannot be trained here; or failure, what broke."""

    plan: Plan | None = None
    refusal: dict[str, str] | None = None
    failure: str = ""


@dataclass(frozen=True)
class Question:
    """What the process is asked. home: where it finds what earlier runs have taught."""

    recipe: Recipe
    rows: Rows
    machine: Machine
    home: str
    with_advice: bool


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


class PlannerService:
    """Asks one question at a time, the newest first, and remembers the answers for a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, tuple[float, Answer]] = OrderedDict()
        self._asked: dict[str, tuple[Recipe, Rows, bool, threading.Event]] = {}
        self._waiting: queue.LifoQueue[str] = queue.LifoQueue()
        self._advising = False
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None

    def ask(
        self,
        recipe: Recipe,
        rows: Rows,
        *,
        seconds: float = LONGEST_SECONDS,
        with_advice: bool = False,
        age: float = KEPT_SECONDS,
    ) -> Plan | None:
        """The plan, as far as it comes within that many seconds; None else, and where the planner fails.

        age: seconds that an answer given before may be old. Raises RecipeError for what cannot be trained here.
        """
        recipe = recipe.model_copy(update={"name": ""})
        key = json.dumps([str(paths.home()), recipe.model_dump(mode="json"), asdict(rows), with_advice], sort_keys=True)
        with self._lock:
            found = self._known(key, age)
            if found is None:
                done = self._enqueue(key, recipe, rows, with_advice)
        if found is None:
            done.wait(seconds)
            with self._lock:
                found = self._known(key, age)
        if found and found.refusal:
            raise RecipeError(**found.refusal)
        return found.plan if found else None

    def _enqueue(self, key: str, recipe: Recipe, rows: Rows, with_advice: bool) -> threading.Event:
        if key not in self._asked:
            self._asked[key] = recipe, rows, with_advice, threading.Event()
            self._waiting.put(key)
            if self._advising and self._process:  # advice takes long, and is about what was in the form before
                self._process.kill()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="modelforge-planner", daemon=True)
            self._thread.start()
        return self._asked[key][-1]

    def _known(self, key: str, age: float) -> Answer | None:
        answered, found = self._answers.get(key, (0.0, None))
        return found if time.monotonic() - answered < age else None

    def _work(self) -> None:
        while True:
            try:
                key = self._waiting.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                self._end()
                continue
            recipe, rows, with_advice, done = self._asked[key]
            self._advising = with_advice
            found = self._answer(recipe, rows, with_advice)
            self._advising = False
            with self._lock:
                if found.failure:
                    log.warning("the planner did not answer: %s", found.failure)
                else:
                    self._answers.pop(key, None)
                    self._answers[key] = time.monotonic(), found
                while len(self._answers) > KEPT:
                    self._answers.popitem(last=False)
                self._asked.pop(key)
                done.set()
            self._drop_old()

    def _drop_old(self) -> None:
        """Of many questions that came meanwhile, as somebody typed, only the newest matter."""
        newest: list[str] = []
        while len(newest) < 4 and not self._waiting.empty():
            newest.append(self._waiting.get())
        with self._lock:
            while not self._waiting.empty():
                *_, done = self._asked.pop(self._waiting.get())
                done.set()
        for each in reversed(newest):
            self._waiting.put(each)

    def _answer(self, recipe: Recipe, rows: Rows, with_advice: bool) -> Answer:
        try:
            question = Question(recipe, rows, Machine.here(), str(paths.home()), with_advice)
            return self._put(_adapter(Question).dump_json(question).decode())
        except Exception as error:  # noqa: BLE001 - whoever waits must be told, whatever it was
            return Answer(failure=f"{type(error).__name__}: {error}")

    def _put(self, question: str) -> Answer:
        """Ask the process, a new one where there is none; one that is too slow is killed."""
        process = self._process
        if process is None or process.poll() is not None:
            warmup.wait()  # both load torch: one after the other, or the first page waits for both
            command = [sys.executable, "-m", "modelforge.planner.service"]
            process = self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        assert process.stdin and process.stdout  # noqa: S101 - both are pipes
        alarm = threading.Timer(LONGEST_SECONDS, process.kill)
        alarm.daemon = True
        alarm.start()
        try:
            process.stdin.write(question + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        finally:
            alarm.cancel()
        found: Answer = _adapter(Answer).validate_json(line) if line else Answer(failure="it took too long")
        return found

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


SERVICE = PlannerService()
"""The one planner of this process, whoever asks: it stands for a process, and a machine needs no two of them."""


def answer(line: str) -> Answer:
    """What the process says to one question."""
    asked: Question = _adapter(Question).validate_json(line)
    os.environ["MODELFORGE_HOME"] = asked.home
    try:
        return Answer(plan_for(asked.recipe, asked.machine, asked.rows, with_advice=asked.with_advice))
    except RecipeError as error:
        return Answer(refusal={"what": error.what, "where": error.where, "fix": error.fix})
    except Exception as error:  # noqa: BLE001 - a model that cannot be planned may still be trained
        return Answer(failure=f"{type(error).__name__}: {error}")


def main() -> None:
    """Answer lines until there are none; whatever libraries print goes nowhere."""
    said = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if hasattr(os, "nice"):
        os.nice(10)  # a run comes first
    threading.Thread(target=_end_with_app, args=(os.getppid(),), daemon=True).start()
    for line in sys.stdin:
        said.write(_adapter(Answer).dump_json(answer(line)).decode() + "\n")
        said.flush()


def _end_with_app(app: int) -> None:
    """An answer under way is of no use to anybody once the app is gone."""
    while os.getppid() == app:
        time.sleep(1.0)
    os._exit(0)


if __name__ == "__main__":
    main()
