"""Extractive question answering: finds the answer to a question as a passage of a given text (the shape of SQuAD)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from modelforge.recipe import Task
from modelforge.tasks.base import MappedRow, Role, Shape, TaskSpec, Texts
from modelforge.tasks.faults import Faults, is_absent, name_type

RELOCATE_ANSWERS = "relocate_answers"
_NUMBER = re.compile(r"-?[0-9]{1,12}")

ROLES = (
    Role(
        "context",
        "The text that holds the answer.",
        ("context", "passage", "paragraph", "document", "article", "text"),
    ),
    Role("question", "The question about the text.", ("question", "query")),
    Role(
        "answers",
        "The passage that answers it, exactly: text, a list (empty where there is no answer), or SQuAD's object "
        "of text and answer_start.",
        ("answers", "answer", "answer_text"),
        holds="answers",
    ),
    Role(
        "answer_start",
        "Where the answer begins in the context, in characters from 0; searched for where it is missing.",
        ("answer_start", "start", "start_position"),
        required=False,
        holds="number",
    ),
)


def read_row(values: Mapping[str, Any], faults: Faults) -> MappedRow:
    context = faults.read_text("context", values["context"])
    question = faults.read_text("question", values["question"])
    given, starts = _read_answers(values.get("answers"), values.get("answer_start"))
    texts = [faults.read_text("answers", text) for text in given]
    found = []
    if not faults.are_fatal:
        found = [_place(context, text, start, faults) for text, start in zip(texts, starts, strict=True)]
    answers = {"text": [text for text, _ in found], "answer_start": [start for _, start in found]}
    return {"context": context, "question": question, "answers": answers}


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


def _place(context: str, text: str, start: Any, faults: Faults) -> tuple[str, int]:
    """The answer as it stands in the context and where it begins: as given, or as found; what is wrong with that is
    noted."""
    given = _read_number(start)
    if given is None and not is_absent(start):
        problem = f"The start is {name_type(start)}, not a whole number."
        faults.note("error", "answer_start", problem, "Count characters from 0, or leave it out.")
        return text, 0
    if given is not None and given >= 0 and context.startswith(text, given):
        return text, given
    found = _find_nearest(context, text, given or 0)
    if found is None:
        problem = f"The answer {text[:60]!r} is not in the context."
        faults.note("error", "answers", problem, "Copy the answer from the context, letter by letter.")
        return text, 0
    stands = context[found : found + len(text)]
    if stands != text:
        problem = f"The answer {text[:60]!r} is in the context with different capitals, at character {found}."
        fix = "Copy the answer from the context, letter by letter, or allow answers to be relocated."
    elif given is not None:
        problem = f"The answer {text[:60]!r} does not begin at character {given} of the context, but at {found}."
        fix = f"Set answer_start to {found}, or allow answers to be relocated."
    else:
        return text, found
    faults.note("error", "answers", problem, fix, RELOCATE_ANSWERS)
    return stands, found


def _find_nearest(context: str, text: str, given: int) -> int | None:
    """Of all places where the answer occurs, the one nearest to the given start; if necessary ignoring case."""
    if text not in context:
        context, text = _fold(context), _fold(text)
    given = max(given, 0)
    after = context.find(text, given)
    # The last place before is found from behind: rfind takes quadratic time for some texts, and find does not.
    beginning = context[: given + len(text) - 1]
    behind = beginning[::-1].find(text[::-1])
    before = len(beginning) - len(text) - behind if behind >= 0 else -1
    return min((place for place in (before, after) if place >= 0), key=lambda place: abs(place - given), default=None)


def _fold(text: str) -> str:
    """The text without differences of case, each character at its place."""
    text = text.replace("İ", "i").replace("\u0131", "i")  # the letters i of Turkish
    folded = text.casefold()
    if len(folded) == len(text):
        return folded
    # "ß" would become "ss"
    return "".join(next((one for one in (sign.casefold(), sign.lower()) if len(one) == 1), sign) for sign in text)


def _read_number(value: Any) -> int | None:
    """A whole number, also one written as text (as in CSV); None for anything else."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return int(value)
    if isinstance(value, float) and value.is_integer():  # spreadsheets have no other numbers
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_texts(row: MappedRow) -> Texts:
    return Texts(row["context"], row["question"], "\n".join(row["answers"]["text"]), together=row["context"])


def has_unanswerable(rows: Iterable[Mapping[str, Any]]) -> bool:
    """Whether some of the rows are questions that their text does not answer."""
    return any("answers" in row and not row["answers"]["text"] for row in rows)


SPEC = TaskSpec(
    task=Task.EXTRACTIVE_QUESTION_ANSWERING,
    title="Extractive question answering",
    sentence="Finds the answer to a question in a text that you give it.",
    shapes=(
        Shape(
            name="span",
            title="Questions on a text",
            sentence="Each row is a text, a question, and the passage of the text that answers it.",
            task=Task.EXTRACTIVE_QUESTION_ANSWERING,
            roles=ROLES,
            methods=("sft",),
            read_row=read_row,
        ),
    ),
    metrics=("f1", "exact_match"),
    architectures=("encoder",),
)
