"""The answers of a run to the same prompts, before training, after evaluations and at the end: one step at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gradio as gr

from modelforge.ui.look import html
from modelforge.ui.look.events import listen


class Answers:
    """What `sampled` events say. newest: the step of the last one, which at the end is that of the saved model."""

    def __init__(self) -> None:
        self._by_prompt: dict[tuple[str, str], dict[int, str]] = {}  # (prompt, expected) -> step -> answer
        self.newest = 0

    def add(self, event: dict[str, Any]) -> None:
        answered = self._by_prompt.setdefault((event["prompt"], event["expected"]), {})
        answered[event["step"]] = event["answer"]
        self.newest = event["step"]

    def rewind(self, step: int) -> None:
        """Forget the answers after that step: a resumed run gives them again."""
        for answered in self._by_prompt.values():
            for later in [each for each in answered if each > step]:
                del answered[later]
        self.newest = max(self.steps, default=0)

    @property
    def steps(self) -> list[int]:
        return sorted({step for answered in self._by_prompt.values() for step in answered})

    def table(self, step: int) -> str:
        """Prompt, expected answer, and the answers before training and after that step."""
        title = f"After step {step}"
        return html.table(
            {"Prompt": prompt, "Expected": expected, "Before": _show(answered.get(0))}
            | ({title: _show(answered.get(step))} if step else {})
            for (prompt, expected), answered in self._by_prompt.items()
        )


def _show(answer: str | None) -> str:
    return html.NOTHING if answer is None else answer if answer.strip() else "(no text)"


class Timeline:
    """Its widgets. `at` is the step that is shown; None for the newest, whichever comes."""

    def __init__(self) -> None:
        self.at = gr.State(None)
        self.title = gr.HTML(elem_id="run-answers-title")
        with gr.Row(visible=False, elem_classes="mf-actions") as self.row:
            self.earlier = gr.Button(
                "← Earlier answers", size="sm", scale=0, min_width=150, elem_id="run-answers-earlier"
            )
            self.later = gr.Button("Later answers →", size="sm", scale=0, min_width=150, elem_id="run-answers-later")
        self.answers = gr.HTML(elem_id="run-answers")
        self.outputs = [self.title, self.row, self.earlier, self.later, self.answers]


def show_answers(answers: Answers, at: int | None, *, has_model: bool) -> list[Any]:
    """Values of `Timeline.outputs`. has_model: the newest answers are those of the saved model."""
    steps = answers.steps
    if not steps:
        return ["", gr.Row(visible=False), gr.Button(), gr.Button(), ""]
    step = at if at in steps else answers.newest
    place = steps.index(step)
    title = f"Answers after step {step}" if step else "Answers before training"
    title += ", of the saved model" if has_model and step == answers.newest else ""
    return [
        f"<h3>{title}</h3>{html.aside(f'{place + 1} of {len(steps)}')}",
        gr.Row(visible=len(steps) > 1),
        gr.Button(interactive=place > 0),
        gr.Button(interactive=place < len(steps) - 1),
        answers.table(step),
    ]


def attach_timeline(timeline: Timeline, run_id: Any, find: Callable[[str], tuple[Answers, bool]]) -> None:
    """find: a run's answers, and whether it has left a model, by its id."""

    def move(by: int, chosen: str, at: int | None) -> list[Any]:
        answers, has_model = find(chosen)
        steps = answers.steps
        if not steps:
            return [None, *show_answers(answers, None, has_model=has_model)]
        place = steps.index(at if at in steps else answers.newest) + by
        step = steps[min(max(place, 0), len(steps) - 1)]
        return [None if step == answers.newest else step, *show_answers(answers, step, has_model=has_model)]

    for button, by in ((timeline.earlier, -1), (timeline.later, 1)):
        listen(button.click, partial(move, by), [run_id, timeline.at], [timeline.at, *timeline.outputs])
