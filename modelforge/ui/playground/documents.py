"""The Playground of models that summarize: a document, typed or from a file."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from modelforge import warmup
from modelforge.data.readers.whole import read_whole
from modelforge.errors import NotFoundError, RecipeError
from modelforge.forge import Forge
from modelforge.models.sampling import Writing
from modelforge.tasks.summarization import read_pair
from modelforge.ui.look import html
from modelforge.ui.look.events import listen_in_chat
from modelforge.ui.playground.choices import find_record, find_speaker
from modelforge.ui.playground.conversation import BASE, UPDATE_SECONDS, describe_writing
from modelforge.ui.playground.settings import read_sampling

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
            self.read = gr.HTML("", elem_id="playground-document-file")
            with gr.Row(elem_classes="mf-actions"):
                self.start = gr.Button("Summarize", variant="primary", elem_id="playground-summarize")
                self.stop = gr.Button("Stop", variant="stop")
                self.example = gr.Button("Use an example", elem_id="playground-example-document")
                self.file = gr.UploadButton(
                    "Open a text file", file_types=["text", ".md", ".gz", ".zip"], elem_id="playground-open-document"
                )
            self.summary = gr.HTML("", elem_id="playground-summary")


def attach_documents(forge: Forge, panel: DocumentPanel, chosen: list[Any], drawn: list[Any]) -> None:
    """chosen: model and who answers. drawn: how an answer is drawn."""

    def summarise(document: str, model: str | None, which: str, *drawn: Any) -> Iterator[str]:
        """The summary, growing."""
        speaker = find_speaker(forge, model, base=which == BASE)
        if not document.strip():
            raise RecipeError("There is no document.", fix="Paste a text, open a file, or use an example.")
        sampling, writing = read_sampling(*drawn), Writing()
        yield html.aside("Reading …")
        warmup.wait()
        summary, begun, shown = "", 0.0, 0.0
        pieces = forge.playground.summarise(speaker.record, document, sampling, base=speaker.base, writing=writing)
        with contextlib.closing(pieces):  # type: ignore[type-var]
            for piece in pieces:
                summary += piece
                now = time.monotonic()
                begun = begun or now
                if now - shown > UPDATE_SECONDS:
                    shown = now
                    yield show_summary(speaker.name, summary)
        if not summary.strip():
            yield html.note("The summary is empty.", "warning")
            return
        yield show_summary(speaker.name, summary, describe_writing(writing, time.monotonic() - begun))

    def take_example(model: str | None) -> list[str]:
        document, _ = read_pair(find_row(forge, model))
        return [document, "", ""]

    inputs = [panel.document, *chosen, *drawn]
    started = listen_in_chat(panel.start.click, summarise, inputs, panel.summary, concurrency_limit=8)
    panel.stop.click(None, None, None, cancels=[started], api_visibility="private")
    outputs = [panel.document, panel.summary, panel.read]
    listen_in_chat(panel.example.click, take_example, chosen[0], outputs)
    listen_in_chat(panel.file.upload, open_file, panel.file, outputs)


def open_file(path: str) -> list[str]:
    """The text of an uploaded file, and what was read of it. Raises DatasetError."""
    text, is_whole = read_whole(Path(path), LONGEST_TEXT)
    cut = "" if is_whole else f" The file is longer: only its first {LONGEST_TEXT:,} characters were read."
    return [
        text,
        "",
        html.note(f"{Path(path).name}: {len(text):,} characters.{cut}", "quiet" if is_whole else "warning"),
    ]


def show_summary(name: str, summary: str, note: str = "") -> str:
    head = html.aside(f"{name}:")
    return f'{head}<div class="mf-answer">{html.text(summary)}</div>{html.aside(note) if note else ""}'


def find_row(forge: Forge, model: str | None) -> dict[str, Any]:
    """A row of the model's dataset. Raises NotFoundError where that was deleted."""
    record = find_record(forge, model)
    rows = forge.datasets.rows(record.dataset_id) if record.dataset_id else []
    if not rows:
        what = "The dataset of this model was deleted." if record.dataset_name else "A base model has no dataset."
        raise NotFoundError(what, where=record.name, fix="Paste a text instead.")
    return rows[-1]
