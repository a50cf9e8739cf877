"""The three tasks by name. What each of them means is defined in `modelforge.tasks`."""

from __future__ import annotations

from enum import StrEnum

from modelforge.errors import RecipeError


class Task(StrEnum):
    """What the columns mean and how an answer is shown and scored."""

    TEXT_GENERATION = "text-generation"
    SUMMARIZATION = "summarization"
    EXTRACTIVE_QUESTION_ANSWERING = "extractive-question-answering"


TASK_ALIASES = {"question-answering": Task.EXTRACTIVE_QUESTION_ANSWERING}


def parse_task(name: str) -> Task:
    """The task with this name or alias. Raises RecipeError, which lists the accepted names."""
    wanted = name.strip().lower()
    if wanted in TASK_ALIASES:
        return TASK_ALIASES[wanted]
    try:
        return Task(wanted)
    except ValueError:
        accepted = ", ".join([*(task.value for task in Task), *TASK_ALIASES])
        raise RecipeError(f"{name!r} is not a task.", where="setting task", fix=f"Accepted are: {accepted}.") from None
