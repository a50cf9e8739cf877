"""Answers a file: some rows at a time, those of similar length side by side, each answer kept before the next."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from modelforge.batch.output import Output, progress_of
from modelforge.batch.questions import Question, Questions
from modelforge.data.rows import Problem
from modelforge.errors import DatasetError, ModelForgeError
from modelforge.models.chat import Playground
from modelforge.models.side_by_side import answer_rows
from modelforge.store import ModelRecord

ROWS_AT_ONCE = 64
MOST_PROBLEMS = 1_000
"""Kept of those that are reported."""


@dataclass
class Progress:
    """rows: read so far, the broken ones too. done: answered, with those of an earlier time. share: of the file, from 0
    to 1. problems: of rows that were left out; `broken` counts them."""

    rows: int = 0
    done: int = 0
    broken: int = 0
    share: float = 0.0
    seconds: float = 0.0
    problems: list[Problem] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {"rows": self.rows, "done": self.done, "skipped": self.broken, "seconds": round(self.seconds, 3)}


def answer_file(
    playground: Playground,
    record: ModelRecord,
    file: Path,
    out: Path,
    *,
    resume: bool = False,
    base: bool = False,
    max_new_tokens: int = 256,
    columns: Mapping[str, str] | None = None,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Write the rows of a file, each with an answer, to `out`. Rows that cannot be read are left out and reported.

    resume: continue what was begun before; what is finished stays as it is. columns: role -> column, instead of the
    guess. watch: called often; what it raises ends the work, which can be resumed. Raises DatasetError, RecipeError,
    NotFoundError, BaseModelError, StoreError, DiskFullError.
    """
    began, progress = time.monotonic(), Progress()
    questions = Questions(file, record, columns)
    job = {"file": _hash(file), "model": record.id, "base": base, "longest answer": max_new_tokens}
    if resume and out.exists() and not progress_of(out).exists():
        return _count_finished(questions, progress)
    output = Output(out, [*questions.columns, questions.answer_column], job, resume=resume)

    def pulse() -> None:
        progress.seconds = time.monotonic() - began
        watch(progress)

    try:
        for chunk in _read_chunks(questions, progress):
            progress.done += sum(each.number in output.answered for each in chunk)
            waiting = {each.number: each.asked for each in chunk if each.number not in output.answered}
            for answers in _answer(playground, record, waiting, max_new_tokens, base=base, pulse=pulse):
                output.add(answers)
                progress.done += len(answers)
                pulse()
            output.write([(each.number, each.values) for each in chunk if each.number in output.answered])
            progress.share = questions.source.position.share
            pulse()
    except BaseException:
        output.close()
        raise
    output.finish()
    progress.seconds = time.monotonic() - began
    if not progress.done:
        first = progress.problems[0] if progress.problems else None
        what = f"No row of it can be answered. Row {first.row}: {first.problem}" if first else "It has no rows."
        out.unlink(missing_ok=True)
        raise DatasetError(what, where=file.name, fix=first.fix if first else "Use a file with a prompt in each row.")
    return progress


def _answer(
    playground: Playground,
    record: ModelRecord,
    waiting: Mapping[int, Mapping[str, Any]],
    max_new_tokens: int,
    *,
    base: bool,
    pulse: Callable[[], None],
) -> Iterator[dict[int, str]]:
    if waiting:
        yield from answer_rows(playground, record, waiting, max_new_tokens, base=base, pulse=pulse)


def _read_chunks(questions: Questions, progress: Progress) -> Iterator[list[Question]]:
    rows = iter(questions)
    while chunk := list(islice(rows, ROWS_AT_ONCE)):
        progress.rows += len(chunk)
        problems = [each for each in chunk if isinstance(each, Problem)]
        progress.broken += len(problems)
        progress.problems += problems[: MOST_PROBLEMS - len(progress.problems)]
        yield [each for each in chunk if isinstance(each, Question)]


def _count_finished(questions: Questions, progress: Progress) -> Progress:
    for chunk in _read_chunks(questions, progress):
        progress.done += len(chunk)
    progress.share = 1.0
    return progress


def _hash(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def describe_problem(file: str, problem: Problem) -> str:
    """A sentence with file, row, line and column."""
    places = (("row", problem.row), ("line", problem.line), ("column", problem.column))
    where = ", ".join(f"{name} {place}" for name, place in places if place is not None)
    return str(ModelForgeError(problem.problem, where=f"{file}, {where}" if where else file, fix=problem.fix))
