"""The planner in a process of its own.

It computes for seconds, and while it does it replaces functions of torch: in the app's process that would hold pages up
and disturb a run or a chat. The process is started when it is first asked, ends when nobody has asked for a while, and
is killed when an answer takes too long. Run as a module, this file is that process.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from typing import Any

from modelforge.recipe import Recipe
from modelforge.ui import warmup

IDLE_SECONDS = 180.0  # it holds some hundred megabytes
LONGEST_SECONDS = 90.0  # a sentence nobody waits for any more is not worth more
KEPT = 100  # answers
KEPT_SECONDS = 60.0  # free memory and disk change

Answer = dict[str, Any]
"""`Plan.as_json()`; or {"error": why it cannot be trained here}; or {"failed": what broke}."""


class Reckoner:
    """Asks one question at a time, the newest first, and remembers the answers for a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, tuple[float, Answer]] = OrderedDict()
        self._advising = False
        self._asked: dict[str, threading.Event] = {}
        self._waiting: queue.LifoQueue[str] = queue.LifoQueue()
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None

    def ask(
        self, recipe: Recipe, *, seconds: float, advise: bool = False, age: float = KEPT_SECONDS, **known: Any
    ) -> Answer | None:
        """The planner's answer, as far as it comes within that many seconds. known: what `planner.plan` takes of the
        rows. age: seconds that an answer given before may be old."""
        settings = recipe.model_copy(update={"name": ""}).model_dump(mode="json")
        question = json.dumps({"recipe": settings, "known": {**known, "advise": advise}}, sort_keys=True)
        with self._lock:
            if found := self._known(question, age):
                return found
            done = self._asked.get(question)
            if done is None:
                done = self._asked[question] = threading.Event()
                self._waiting.put(question)
                if self._advising and self._process:  # advice takes long, and is about what was in the form before
                    self._process.kill()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="modelforge-reckoner", daemon=True)
                self._thread.start()
        done.wait(seconds)
        with self._lock:
            return self._known(question, age)

    def _known(self, question: str, age: float) -> Answer | None:
        answered, found = self._answers.get(question, (0.0, None))
        return found if time.monotonic() - answered < age else None

    def _work(self) -> None:
        while True:
            try:
                question = self._waiting.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                self._end()
                continue
            self._advising = json.loads(question)["known"]["advise"]
            answer = self._put(question)
            self._advising = False
            with self._lock:
                if "failed" not in answer:
                    self._answers.pop(question, None)
                    self._answers[question] = time.monotonic(), answer
                while len(self._answers) > KEPT:
                    self._answers.popitem(last=False)
                self._asked.pop(question).set()
            self._drop_old()

    def _drop_old(self) -> None:
        """Of many questions that came meanwhile, as somebody typed, only the newest matter."""
        newest: list[str] = []
        while len(newest) < 4 and not self._waiting.empty():
            newest.append(self._waiting.get())
        with self._lock:
            while not self._waiting.empty():
                self._asked.pop(self._waiting.get()).set()
        for each in reversed(newest):
            self._waiting.put(each)

    def _put(self, question: str) -> Answer:
        """Ask the process, a new one where there is none; one that is too slow is killed."""
        process = self._process
        if process is None or process.poll() is not None:
            warmup.wait()  # both load torch: one after the other, or the first page waits for both
            command = [sys.executable, "-m", "modelforge.ui.reckoner"]
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
            return dict(json.loads(line)) if line else {"failed": "it took too long"}
        except (OSError, ValueError) as error:
            return {"failed": str(error)}
        finally:
            alarm.cancel()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def answer(question: str) -> Answer:
    """What the process says to one question."""
    from modelforge import planner
    from modelforge.errors import ModelForgeError

    asked = json.loads(question)
    try:
        return planner.plan(Recipe.build(asked["recipe"]), **asked["known"]).as_json()
    except ModelForgeError as error:
        return {"error": str(error)}
    except Exception as error:  # noqa: BLE001 - a model that cannot be reckoned may still be trained
        return {"failed": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Answer lines until there are none; whatever libraries print goes nowhere."""
    said = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if hasattr(os, "nice"):
        os.nice(10)  # a run comes first
    threading.Thread(target=_end_with_app, args=(os.getppid(),), daemon=True).start()
    for question in sys.stdin:
        said.write(json.dumps(answer(question)) + "\n")
        said.flush()


def _end_with_app(app: int) -> None:
    """An answer under way is of no use to anybody once the app is gone."""
    while os.getppid() == app:
        time.sleep(1.0)
    os._exit(0)


if __name__ == "__main__":
    main()
