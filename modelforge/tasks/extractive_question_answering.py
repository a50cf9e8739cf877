"""Extractive question answering: finds the answer to a question as a passage of a given text (the shape of SQuAD)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from modelforge.recipe import Task
from modelforge.tasks.base import (
    Fault,
    MappedRow,
    Role,
    TaskSpec,
    describe_text_fault,
    find_text_faults,
    is_absent,
    name_type,
)

NOT_FOUND = -1
"""The answer_start of an answer that does not stand in its context."""

ROLES = (
    Role(
        "context",
        "The text that holds the answer.",
        ("context", "passage", "paragraph", "document", "article", "text"),
    ),
    Role("question", "What is asked about it.", ("question", "query")),
    Role(
        "answers",
        "The passage that answers it, word for word: text, a list, or SQuAD's object of text and answer_start.",
        ("answers", "answer", "answer_text"),
        holds="answers",
    ),
    Role(
        "answer_start",
        "Where the answer begins in the context, in characters from 0; found out when there is none.",
        ("answer_start", "start", "start_position"),
        required=False,
        holds="number",
    ),
)


def map_row(values: Mapping[str, Any]) -> tuple[MappedRow | None, list[Fault]]:
    faults = find_text_faults(ROLES, values)
    texts, starts = _read_answers(values.get("answers"), values.get("answer_start"))
    if not texts:
        faults.append(_error("There is no answer.", "Fill it in, or remove the row."))
    for text in texts:
        if described := describe_text_fault(text):
            faults.append(_error(*described))
    if faults:
        return None, faults
    places = []
    for text, start in zip(texts, starts, strict=True):
        place, fault = _place(values["context"], text, start)
        places.append(place)
        faults += [fault] if fault else []
    if any(fault.severity == "error" for fault in faults):
        return None, faults
    answers = {"text": texts, "answer_start": places}
    return {"context": values["context"], "question": values["question"], "answers": answers}, faults


def _read_answers(answers: Any, start: Any) -> tuple[list[Any], list[Any]]:
    """Texts and starts (None where not given), as long as each other, of any of the shapes that answers come in."""
    if isinstance(answers, dict):
        answers, start = answers.get("text"), answers.get("answer_start", start)
    if isinstance(answers, list) and any(isinstance(answer, dict) for answer in answers):
        pairs = [answer if isinstance(answer, dict) else {"text": answer} for answer in answers]
        return [pair.get("text") for pair in pairs], [pair.get("answer_start") for pair in pairs]
    texts = answers if isinstance(answers, list) else [answers]
    starts = start if isinstance(start, list) else [start]
    return texts, [*starts, *[None] * len(texts)][: len(texts)]


def _place(context: str, text: str, start: Any) -> tuple[int, Fault | None]:
    """Where the answer begins, as given or else as found, and what is wrong with that."""
    given = _read_number(start)
    if given is None and not is_absent(start):
        problem = f"The start is {name_type(start)}, not a whole number."
        return NOT_FOUND, Fault("error", "answer_start", problem, "Count characters from 0, or leave it out.")
    if given is not None and given >= 0 and context.startswith(text, given):
        return given, None
    found = context.find(text)
    if found == NOT_FOUND:
        similar = re.search(re.escape(text), context, re.IGNORECASE)
        hint = f" With other capitals it stands at character {similar.start()}." if similar else ""
        problem = f"The answer {text[:60]!r} does not stand in the context.{hint}"
        return NOT_FOUND, Fault("warning", "answers", problem, "Copy the answer from the context, letter by letter.")
    if given is None:
        return found, None
    problem = f"The answer does not begin at character {given} of the context, but at {found}."
    return given, Fault("warning", "answers", problem, f"Set answer_start to {found}.")


def _read_number(value: Any) -> int | None:
    """A whole number, also one written as text (as in CSV); None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,12}", value.strip()):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _error(problem: str, fix: str) -> Fault:
    return Fault("error", "answers", problem, fix)


SPEC = TaskSpec(
    task=Task.EXTRACTIVE_QUESTION_ANSWERING,
    title="Extractive question answering",
    sentence="Finds the answer to a question in a text that you give it.",
    roles=ROLES,
    methods=(),  # no method trains a span head yet
    map_row=map_row,
)
