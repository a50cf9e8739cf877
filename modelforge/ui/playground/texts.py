"""The Playground of models that work on a text: a document to summarize, or a context to find an answer in."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr

from modelforge import warmup
from modelforge.errors import NotFoundError, RecipeError
from modelforge.forge import Forge
from modelforge.models.sampling import Sampling
from modelforge.tasks.summarization import read_pair
from modelforge.ui.look import html
from modelforge.ui.look.events import listen_in_chat

TUNED, BASE = "Fine-tuned", "Base"
LONGEST_TEXT = 200_000  # characters


class DocumentPanel:
    """Its components."""

    def __init__(self) -> None:
        with gr.Column(visible=False) as self.box:
            self.document = gr.Textbox(
                label="Document",
                info="The text to summarize.",
                lines=10,
                max_lines=18,
                max_length=LONGEST_TEXT,
                elem_id="playground-document",
            )
            with gr.Row(elem_classes="mf-actions"):
                self.start = gr.Button("Summarize", variant="primary", elem_id="playground-summarize")
                self.stop = gr.Button("Stop", variant="stop")
                self.example = gr.Button("Use an example", elem_id="playground-example-document")
            self.summary = gr.HTML("", elem_id="playground-summary")


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


def attach_documents(forge: Forge, panel: DocumentPanel, chosen: list[Any], drawn: list[Any]) -> None:
    """chosen: model and who answers. drawn: how an answer is drawn."""

    def summarise(document: str, model_id: str | None, which: str, *drawn: Any) -> Iterator[str]:
        """The summary, growing."""
        record = forge.models.find(model_id or "")
        if not document.strip():
            raise RecipeError("There is no document.", fix="Paste a text, or use an example.")
        sampling = read_sampling(*drawn)
        yield html.aside("Reading …")
        warmup.wait()
        head, summary = html.aside("The base model:" if which == BASE else f"{record.name}:"), ""
        for piece in forge.playground.summarise(record, document, sampling, base=which == BASE):
            summary += piece
            yield f'{head}<div class="mf-answer">{html.text(summary)}</div>'
        if not summary.strip():
            yield html.note("The summary is empty.", "warning")

    def take_example(model_id: str | None) -> list[str]:
        document, _ = read_pair(_find_row(forge, model_id))
        return [document, ""]

    inputs = [panel.document, *chosen, *drawn]
    started = listen_in_chat(panel.start.click, summarise, inputs, panel.summary, concurrency_limit=8)
    panel.stop.click(None, None, None, cancels=[started], api_visibility="private")
    listen_in_chat(panel.example.click, take_example, chosen[0], [panel.document, panel.summary])


def attach_questions(forge: Forge, panel: QuestionPanel, chosen: list[Any]) -> None:
    """chosen: model and who answers."""

    def find(context: str, question: str, model_id: str | None, which: str) -> Iterator[str]:
        record = forge.models.find(model_id or "")
        for name, text in (("text", context), ("question", question)):
            if not text.strip():
                raise RecipeError(f"There is no {name}.", fix="Fill it in, or use an example.")
        yield html.aside("Reading …")
        warmup.wait()
        span = forge.playground.find_answer(record, context, question, base=which == BASE)
        yield _show_span(context, span, "The base model" if which == BASE else record.name)

    def take_example(model_id: str | None) -> list[str]:
        row = _find_row(forge, model_id)
        return [row["context"], row["question"], ""]

    entered = partial(gr.on, [panel.start.click, panel.question.submit])
    listen_in_chat(entered, find, [panel.context, panel.question, *chosen], panel.answer, concurrency_limit=8)
    listen_in_chat(panel.example.click, take_example, chosen[0], [panel.context, panel.question, panel.answer])


def read_sampling(temperature: float, top_p: float, max_new_tokens: int, seed: str) -> Sampling:
    """The settings at the side. Raises RecipeError."""
    seed_given = seed.strip() or None
    return Sampling.build(temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens, seed=seed_given)


def _find_row(forge: Forge, model_id: str | None) -> dict[str, Any]:
    """A row of the model's dataset. Raises NotFoundError where that was deleted."""
    record = forge.models.find(model_id or "")
    rows = forge.datasets.rows(record.dataset_id) if record.dataset_id else []
    if not rows:
        raise NotFoundError("The dataset of this model was deleted.", where=record.name, fix="Paste a text instead.")
    return rows[-1]


def _show_span(context: str, span: Any, who: str) -> str:
    """The answer and how sure it is; then the text with the answer marked in it."""
    if not span.text:
        return html.note(f"{who} finds no answer in this text.", "warning")
    numbers = html.tiles([("Answer", span.text), ("Score", f"{span.score:.0%}"), ("Answered by", who)])
    before, after = context[: span.start], context[span.end :]
    marked = f"{html.text(before)}<mark>{html.text(span.text)}</mark>{html.text(after)}"
    return f'{numbers}<div class="mf-answer">{marked}</div>'
