"""Answering a file, on the Models tab: what to answer, how far it is, and the answers to download."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gradio as gr

from modelforge.batch.service import ACTIVE, DONE, RESUMABLE, Batch
from modelforge.errors import DatasetError, RunStateError
from modelforge.forge import Forge
from modelforge.models.sampling import Sampling
from modelforge.ui.look import html
from modelforge.ui.look.choices import Choices, pick, select
from modelforge.ui.look.events import listen
from modelforge.ui.look.files import make_file

ABOUT = (
    "Each row of a file is answered: prompts or chats, documents to summarize, or questions with their text, as fits "
    "the model. You get the same rows with one column more. It continues when the page is closed; training goes first."
)
LOOKS_EVERY = 1.0  # seconds


class BatchPanel:
    """Its components. `shown` depend on the batches of this person."""

    def __init__(self) -> None:
        with gr.Accordion("Answer a file", open=False, elem_id="models-batch"):
            gr.HTML(html.aside(ABOUT))
            with gr.Row():
                self.file = gr.File(label="File", height=120, elem_id="batch-file")
                with gr.Column(min_width=260):
                    self.longest = gr.Number(
                        Sampling().max_new_tokens, label="Longest answer, in tokens", precision=0, minimum=1,
                        elem_id="batch-longest",
                    )  # fmt: skip
                    self.base = gr.Checkbox(label="Let the untrained base model answer", elem_id="batch-base")
                    self.ending = gr.Radio([("JSONL", ".jsonl"), ("CSV", ".csv")], value=".jsonl", label="Answers as")
            self.start = gr.Button("Answer it", variant="primary", scale=0, min_width=140, elem_id="batch-start")
            self.chosen = gr.Dropdown([], label="Answered files", visible=False, elem_id="batch-chosen")
            self.state = gr.HTML("", elem_id="batch-state")
            with gr.Row(visible=False, elem_classes="mf-actions") as self.actions:
                self.cancel = gr.Button("Cancel", scale=0, min_width=110, elem_id="batch-cancel")
                self.resume = gr.Button("Resume", scale=0, min_width=110, elem_id="batch-resume")
                self.fetch = gr.Button("Download the answers", scale=0, min_width=230, elem_id="batch-fetch")
                self.delete = gr.Button("Delete", scale=0, min_width=110, elem_id="batch-delete")
            self.answers = gr.DownloadButton("answers", visible="hidden", elem_id="batch-answers")
            self.timer = gr.Timer(LOOKS_EVERY, active=False)
        self.followed = [self.state, self.actions, self.cancel, self.resume, self.fetch, self.delete, self.timer]
        self.shown = [self.chosen, *self.followed]

    def attach(self, forge: Forge, model: Any) -> None:
        def start(model_id: str | None, file: str | None, longest: int | None, base: bool, ending: str) -> list[Any]:
            if not file:
                raise DatasetError("No file is chosen.", fix="Drop one first.")
            tokens = Sampling.build(max_new_tokens=longest).max_new_tokens
            made = forge.batches.start(
                model_id or "", Path(file), ending=ending, base=bool(base), max_new_tokens=tokens
            )
            return show_batches(forge, made.id)

        def act(name: str) -> Any:
            def handler(batch_id: str | None) -> list[Any]:
                getattr(forge.batches, name)(batch_id or "")
                return show_batches(forge, batch_id)

            return handler

        def fetch(batch_id: str | None) -> Any:
            batch = forge.batches.get(batch_id or "")
            if not batch.answers.exists():
                raise RunStateError("There are no answers yet.", where=batch.file, fix="Wait for the first ones.")
            name = f"{Path(batch.file).stem} answered{batch.ending}"
            return gr.DownloadButton(value=str(shutil.copy(batch.answers, make_file(name))))

        asked = [model, self.file, self.longest, self.base, self.ending]
        listen(self.start.click, start, asked, self.shown)
        for button, name in ((self.cancel, "cancel"), (self.resume, "resume"), (self.delete, "delete")):
            listen(button.click, act(name), self.chosen, self.shown)
        follow = lambda batch_id: follow_batch(forge, batch_id)  # noqa: E731 - for two events
        listen(self.chosen.input, follow, self.chosen, self.followed)
        listen(self.timer.tick, follow, self.chosen, self.followed)
        copied = listen(self.fetch.click, fetch, self.chosen, self.answers)
        copied.success(None, None, None, js="() => document.querySelector('#batch-answers').click()")


def show_batches(forge: Forge, chosen: str | None = None) -> list[Any]:
    """Values of `BatchPanel.shown`, with that batch or the newest one selected."""
    choices: Choices = [
        (f"{each.file} · {each.model_name} · {html.date(each.created)}", each.id) for each in forge.batches.all()
    ]
    return [select(choices, chosen, visible=bool(choices)), *follow_batch(forge, pick(choices, chosen))]


def follow_batch(forge: Forge, batch_id: str | None) -> list[Any]:
    """Values of `BatchPanel.followed`."""
    batch = next((each for each in forge.batches.all() if each.id == batch_id), None)
    if batch is None:
        return ["", gr.Row(visible=False), *[gr.skip()] * 4, gr.Timer(active=False)]
    is_active = batch.state in ACTIVE
    return [
        describe_batch(batch),
        gr.Row(visible=True),
        gr.Button(visible=is_active),
        gr.Button(visible=batch.state in RESUMABLE),
        gr.Button(visible=batch.done > 0),
        gr.Button(visible=not is_active),
        gr.Timer(active=is_active),
    ]


def describe_batch(batch: Batch) -> str:
    """How far it is, and what was left out."""
    who = f"{batch.model_name}{' (base)' if batch.base else ''}"
    counts = f"{batch.done:,} of {batch.rows:,} rows answered by {who}"
    share = 1.0 if batch.state == DONE else batch.share
    shown = html.bar(share, f"{batch.state.capitalize()}: {counts}, {html.seconds(batch.seconds)}")
    if batch.error:
        shown += html.note(batch.error, "bad")
    if batch.skipped:
        shown += html.details(f"{batch.skipped:,} row{'' if batch.skipped == 1 else 's'} left out", batch.problems)
    return shown
