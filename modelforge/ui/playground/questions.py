"""The Playground of models that find answers in a text: the answer marked in it, the next best ones, no answer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

from modelforge import warmup
from modelforge.errors import RecipeError
from modelforge.forge import Forge
from modelforge.ui.look import html
from modelforge.ui.look.events import listen_in_chat
from modelforge.ui.playground.choices import find_speaker
from modelforge.ui.playground.conversation import BASE
from modelforge.ui.playground.documents import LONGEST_TEXT, find_row

if TYPE_CHECKING:
    from modelforge.models.spans import Span

MOST_SHOWN = 5  # of the next best answers


class QuestionPanel:
    """Its components."""

    def __init__(self) -> None:
        with gr.Column(visible=False) as self.box:
            self.context = gr.Textbox(
                label="Text",
                info="The text that contains the answer.",
                lines=8,
                max_lines=16,
                max_length=LONGEST_TEXT,
                elem_id="playground-context",
            )
            self.question = gr.Textbox(
                label="Question", info="Press Enter to ask.", max_length=2000, elem_id="playground-question"
            )
            with gr.Row(elem_classes="mf-actions"):
                self.start = gr.Button("Find the answer", variant="primary", elem_id="playground-find")
                self.example = gr.Button("Use an example", elem_id="playground-example-question")
            self.answer = gr.HTML("", elem_id="playground-answer")


def attach_questions(forge: Forge, panel: QuestionPanel, chosen: list[Any]) -> None:
    """chosen: model and who answers."""

    def find(context: str, question: str, model: str | None, which: str) -> Iterator[str]:
        speaker = find_speaker(forge, model, base=which == BASE)
        for name, text in (("text", context), ("question", question)):
            if not text.strip():
                raise RecipeError(f"There is no {name}.", fix="Fill it in, or use an example.")
        yield html.aside("Reading …")
        warmup.wait()
        span = forge.playground.find_answer(speaker.record, context, question, base=speaker.base)
        yield show_span(context, span, "The base model" if speaker.base else speaker.name)

    def take_example(model: str | None) -> list[str]:
        row = find_row(forge, model)
        return [row["context"], row["question"], ""]

    entered = partial(gr.on, [panel.start.click, panel.question.submit])
    listen_in_chat(entered, find, [panel.context, panel.question, *chosen], panel.answer, concurrency_limit=8)
    listen_in_chat(panel.example.click, take_example, chosen[0], [panel.context, panel.question, panel.answer])


def show_span(context: str, span: Span, who: str) -> str:
    """The answer and how sure it is; the text with the answer marked in it; the next best answers."""
    nothing = [("No answer", f"{span.no_answer:.0%}")] if span.no_answer is not None else []
    if span.text:
        numbers = html.tiles([("Answer", span.text), ("Score", f"{span.score:.0%}"), *nothing, ("Answered by", who)])
    else:
        numbers = html.note(f"{who} finds no answer in this text.", "warning") + html.tiles(nothing)
    before, after = context[: span.start], context[span.end :]
    marked = f"<mark>{html.text(context[span.start : span.end])}</mark>" if span.text else ""
    shown = f'<div class="mf-answer">{html.text(before)}{marked}{html.text(after)}</div>'
    others = html.table(
        {"Next best": each.text, "Score": f"{each.score:.1%}", "Around it": show_around(context, each)}
        for each in span.others[:MOST_SHOWN]
    )
    without = "" if nothing else html.aside("Its training had no questions without an answer, so it always finds one.")
    return numbers + shown + (others if span.others else "") + without


def show_around(context: str, span: Span, characters: int = 30) -> str:
    """A few words on both sides of an answer."""
    begin, end = max(0, span.start - characters), min(len(context), span.end + characters)
    text = " ".join(context[begin:end].split())
    return f"{'…' if begin else ''}{text}{'…' if end < len(context) else ''}"
