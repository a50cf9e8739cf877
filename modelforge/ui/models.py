"""Models tab: the library of finished models: look, rename, delete; from here to the Playground and the Hub."""

from __future__ import annotations

from typing import Any

import gradio as gr

from modelforge.forge import Forge
from modelforge.store import ModelRecord
from modelforge.ui import html
from modelforge.ui.events import listen


class ModelsTab:
    """Its components; `chosen` holds the id of the model that the buttons act on."""

    def __init__(self) -> None:
        gr.HTML(
            html.title(
                "Models", "What your finished runs have left. Each is an adapter: a small file beside its base model."
            )
        )
        self.table = gr.HTML(elem_id="models-table")
        with gr.Row(visible=False) as self.panel:
            with gr.Column(scale=1, min_width=300):
                self.chosen = gr.Dropdown(
                    [], label="Model", info="What the buttons below act on.", elem_id="models-chosen"
                )
                self.name = gr.Textbox(label="Name", max_length=120, elem_id="models-name")
                with gr.Row(elem_classes="mf-actions"):
                    self.chat = gr.Button("Chat →", variant="primary")
                    self.push = gr.Button("Push to the Hub →")
                with gr.Row(elem_classes="mf-actions"):
                    self.rename = gr.Button("Rename", elem_id="models-rename")
                    self.delete = gr.Button("Delete…", elem_id="models-delete")
                    self.confirm = gr.Button(
                        "Yes, delete it", variant="stop", visible=False, elem_id="models-delete-really"
                    )
                    self.keep = gr.Button("Keep it", visible=False)
            with gr.Column(scale=2, min_width=320):
                self.details = gr.HTML(elem_id="models-details")

    @property
    def shown(self) -> list[Any]:
        return [self.table, self.panel, self.chosen, self.name, self.details]


def build(forge: Forge) -> ModelsTab:
    tab = ModelsTab()
    asking = [tab.delete, tab.confirm, tab.keep]

    def choose(model_id: str | None) -> list[Any]:
        return [*describe_choice(forge, model_id), *_ask(False)]

    def rename(model_id: str | None, name: str) -> list[Any]:
        record = forge.models.rename(model_id or "", name)
        return show_models(forge, record.id)

    def delete(model_id: str | None) -> list[Any]:
        forge.models.delete(model_id or "")
        return [*show_models(forge), *_ask(False)]

    listen(tab.chosen.change, choose, tab.chosen, [tab.name, tab.details, *asking])
    listen(tab.rename.click, rename, [tab.chosen, tab.name], tab.shown)
    listen(tab.delete.click, lambda: _ask(True), None, asking)
    listen(tab.keep.click, lambda: _ask(False), None, asking)
    listen(tab.confirm.click, delete, tab.chosen, [*tab.shown, *asking])
    return tab


def show_models(forge: Forge, chosen: str | None = None) -> list[Any]:
    """Values of `ModelsTab.shown`."""
    records = forge.models.all()
    table = html.table(
        ("Name", "Task", "Base model", "Made", "Held-out loss", "Dataset"),
        (
            (each.name, each.task, each.base_model, html.date(each.created), describe_gain(each), each.dataset_name)
            for each in records
        ),
        empty="No model yet. Train one: the Train tab has everything chosen for a first try.",
    )
    ids = [each.id for each in records]
    picked = chosen if chosen in ids else next(iter(ids), None)
    chosen_now = gr.Dropdown(choices=offer_models(forge), value=picked)
    return [table, gr.Row(visible=bool(ids)), chosen_now, *describe_choice(forge, picked)]


def offer_models(forge: Forge) -> list[tuple[str, str]]:
    """(label, id) of every model, the newest first; a name that is there twice gets its date."""
    return [(f"{each.name} · {html.date(each.created)}", each.id) for each in forge.models.all()]


def describe_gain(record: ModelRecord) -> str:
    """ "2.31 → 1.08": the held-out loss of base and tuned model."""
    base, tuned = record.metrics.get("base"), record.metrics.get("tuned")
    return f"{base['loss']:.3f} → {tuned['loss']:.3f}" if base and tuned else "not measured"


def describe_choice(forge: Forge, model_id: str | None) -> list[Any]:
    """[name, details] of one model."""
    known = {each.id: each for each in forge.models.all()}
    record = known.get(model_id or "")
    if record is None:
        return ["", ""]
    manifest = forge.models.manifest(record)
    numbers = html.tiles(
        [
            ("Held-out loss", describe_gain(record)),
            ("Perplexity", _perplexities(record)),
            ("Steps", manifest.get("steps", "-")),
            ("Took", html.seconds(manifest.get("seconds", 0))),
        ]
    )
    dataset = manifest["dataset"]
    lineage = html.pairs(
        [
            ("Base model", record.base_model),
            ("Had from", manifest.get("base_source", "")),
            ("Dataset", f"{dataset['name']}: {dataset['train_rows']} rows trained on, {dataset['eval_rows']} held out"),
            ("Dataset hash", dataset["sha256"]),
            ("Method", f"{record.method}, {record.tuning}"),
            ("Run", record.run_id or "-"),
            ("Id", record.id),
            ("Folder", forge.models.path(record)),
        ]
    )
    return [record.name, numbers + lineage]


def _perplexities(record: ModelRecord) -> str:
    base, tuned = record.metrics.get("base"), record.metrics.get("tuned")
    return f"{base['perplexity']:.1f} → {tuned['perplexity']:.1f}" if base and tuned else "not measured"


def _ask(asking: bool) -> list[Any]:
    """[delete, confirm, keep]: ask before anything is deleted."""
    return [gr.Button(visible=not asking), gr.Button(visible=asking), gr.Button(visible=asking)]
