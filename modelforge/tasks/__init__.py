"""The tasks. A new one is a new file and a line here."""

from __future__ import annotations

from modelforge.errors import RecipeError
from modelforge.recipe import Task
from modelforge.tasks import extractive_question_answering, summarization, text_generation
from modelforge.tasks.base import TaskSpec

TASKS: dict[Task, TaskSpec] = {
    Task.TEXT_GENERATION: text_generation.SPEC,
    Task.SUMMARIZATION: summarization.SPEC,
    Task.EXTRACTIVE_QUESTION_ANSWERING: extractive_question_answering.SPEC,
}


def check_trainable(task: Task, method: str) -> None:
    """Refuse a method that cannot train the task, naming what can."""
    spec = TASKS[task]
    if method not in spec.methods:
        able = [f"{method} for {other.task.value}" for other in TASKS.values() for method in other.methods]
        raise RecipeError(
            f"{method} cannot train {spec.task.value} in this version.",
            where="setting method",
            fix=f"Possible are: {', '.join(able)}.",
        )
