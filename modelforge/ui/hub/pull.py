"""Bringing a model or a dataset from the Hub: how large it is, the question, and the progress of the download."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from modelforge.data import hub_dataset
from modelforge.data.checks import check
from modelforge.errors import ModelForgeError, RunStateError
from modelforge.forge import Forge
from modelforge.hardware import describe_bytes
from modelforge.models.hub_pull import Pull, PullProgress, find_model
from modelforge.store import DatasetRecord
from modelforge.ui.hub.transfer import TransferPanel
from modelforge.ui.look import html
from modelforge.ui.look.events import listen

MODEL, DATASET = "Model", "Dataset"


class PullPanel:
    """Its components. asked: what the question is about, None while there is none."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                self.kind = gr.Radio([MODEL, DATASET], value=MODEL, label="What", elem_id="hub-kind")
                self.id = gr.Textbox(label="Id on the Hub", info="owner/name", elem_id="hub-id")
                self.split = gr.Textbox(label="Split", info="By default train.", visible=False, elem_id="hub-split")
                self.look = gr.Button("Download…", elem_id="hub-look")
            with gr.Column(scale=2, min_width=320):
                self.question = gr.HTML("", elem_id="hub-pull-question")
                with gr.Row(elem_classes="mf-actions"):
                    hidden: dict[str, Any] = {"visible": False, "min_width": 170, "scale": 0}
                    self.yes = gr.Button("Yes, download", variant="primary", elem_id="hub-pull-yes", **hidden)
                    self.no = gr.Button("No", elem_id="hub-pull-no", **hidden)
                self.asked = gr.State(None)
                self.transfer = TransferPanel(forge, "pull", show_pull)
        answers = [self.question, self.asked, self.yes, self.no]
        listen(self.kind.change, lambda kind: gr.Textbox(visible=kind == DATASET), self.kind, self.split)
        listen(self.look.click, self.ask, [self.kind, self.id, self.split], answers)
        listen(self.yes.click, self.start, self.asked, [*answers, *self.transfer.shown])
        listen(self.no.click, lambda: ["", None, *_show(False)], None, answers)

    def ask(self, kind: str, id: str | None, split: str | None) -> Iterator[list[Any]]:
        """How large it is, before anything is downloaded. A field that was never shown gives None."""
        id, split = (id or "").strip(), (split or "").strip()
        yield [html.note("Looking on the Hub …"), None, *_show(False)]
        try:
            found = None if kind == DATASET else find_model(id)
            sentence = describe_model(id, found) if found else describe_dataset(id)
        except ModelForgeError as error:
            yield [html.note(str(error), "bad"), None, *_show(False)]
            raise
        yield [html.note(sentence), {"id": id, "found": found, "split": split}, *_show(True)]

    def start(self, asked: dict[str, Any] | None) -> list[Any]:
        if not isinstance(asked, dict):
            raise RunStateError("Nothing was chosen to be downloaded.", fix="Press Download first.")
        forge, id = self._forge, asked["id"]

        def bring(note: Any) -> Any:
            if asked["found"] is None:
                return bring_dataset(forge, id, asked["split"], note)
            return forge.models.pull(asked["found"], watch=note)

        forge.transfers.start("pull", id, bring)
        return ["", None, *_show(False), *self.transfer.show()]


def describe_model(id: str, found: Pull) -> str:
    what = "adapter" if found.form == "adapter" else "model"
    names = ", ".join(file.name for file in found.files if file.name.endswith(".safetensors"))
    size = describe_bytes(found.bytes)
    return f"{id} is a{'n' if found.form == 'adapter' else ''} {what}: {size} ({names[:200]}). Download and import it?"


def describe_dataset(id: str) -> str:
    return f"The files of {id} have {describe_bytes(hub_dataset.count_bytes(id))} in all. Download its split?"


def bring_dataset(forge: Forge, id: str, split: str, note: Any) -> DatasetRecord:
    """Downloads, checks and saves it."""
    path = hub_dataset.fetch(id, None, split or None, lambda here, total, file: note(PullProgress(file, here, total)))
    return forge.datasets.add(check(path), name=id)


def show_pull(pull: Any) -> str:
    """How far a download is, or what it brought."""
    if isinstance(pull, PullProgress):
        if not pull.file:
            return html.bar(1, "Checking what arrived")
        received = f"{describe_bytes(pull.received)} of {describe_bytes(pull.total_bytes)}"
        return html.bar(pull.received / max(pull.total_bytes, 1), f"Downloading: {received} {pull.file}")
    if isinstance(pull, DatasetRecord):
        return html.note(
            f"{pull.name} is in your datasets, with {pull.rows} rows for {pull.task}: train on it.", "good"
        )
    return html.note(f"{pull.name} is among your models, for {pull.task}: chat with it, evaluate or export it.", "good")


def _show(asking: bool) -> list[Any]:
    return [gr.Button(visible=asking), gr.Button(visible=asking)]
