"""Text generation: a prompt in, a response out; or plain text, passages that the model learns to continue."""

from __future__ import annotations

from modelforge.recipe import Task
from modelforge.tasks.base import Role, Shape, TaskSpec
from modelforge.tasks.shapes import chat, labelled, prompts

PLAIN_TEXT = Shape(
    name="text",
    title="Plain text",
    sentence="Each row is a passage; the model learns to write like it.",
    task=Task.TEXT_GENERATION,
    roles=(Role("text", "A passage to learn, unchanged.", ("text", "content")),),
    methods=("sft",),
    read_row=lambda values, faults: {"text": faults.read_text("text", values["text"])},
    fill=lambda texts: (texts["text"],),
    form="text",
    one_answer=False,
    metrics=("loss", "perplexity"),
)

SPEC = TaskSpec(
    task=Task.TEXT_GENERATION,
    title="Text generation",
    sentence="Answers a prompt with text, as in your examples.",
    shapes=(chat.SHAPE, prompts.PREFERENCE, labelled.SHAPE, labelled.GOOD, prompts.PROMPTS, PLAIN_TEXT),
    metrics=("rougeL", "loss", "perplexity", "chrf", "exact_match"),
    architectures=("decoder",),
    to_messages=chat.to_messages,
)
