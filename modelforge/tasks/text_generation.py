"""Text generation: a prompt in, a response out."""

from __future__ import annotations

from modelforge.recipe import Task
from modelforge.tasks.base import TaskSpec
from modelforge.tasks.shapes import chat, plain_text, preference, prompts

SPEC = TaskSpec(
    task=Task.TEXT_GENERATION,
    title="Text generation",
    sentence="Answers a prompt with text, as in your examples.",
    shapes=(chat.SHAPE, preference.SHAPE, prompts.SHAPE, plain_text.SHAPE),
    metrics=("perplexity", "rougeL", "exact_match"),
    architectures=("decoder",),
    to_messages=chat.to_messages,
)
