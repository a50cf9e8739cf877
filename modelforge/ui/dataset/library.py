"""The library of the Dataset tab: saved datasets, to open, rename and delete."""

from __future__ import annotations

from typing import Any

import gradio as gr

from modelforge.forge import Forge
from modelforge.recipe import STARTER, Recipe
from modelforge.ui.dataset import preview, view
from modelforge.ui.look import html
from modelforge.ui.look.events import listen


class DatasetLibrary:
    """Its components."""

    def __init__(self) -> None:
        gr.HTML("<h3>Library</h3>")
        self.table = gr.HTML("", elem_id="dataset-library")
        with gr.Row(elem_classes="mf-actions"):
            self.chosen = gr.Dropdown([], label="Dataset", scale=2, min_width=260, elem_id="dataset-chosen")
            self.open = gr.Button("Open", variant="secondary", scale=0, min_width=100, elem_id="dataset-open")
            self.new_name = gr.Textbox(
                label="New name", max_length=120, scale=2, min_width=200, elem_id="dataset-new-name"
            )
            self.rename = gr.Button("Rename", variant="secondary", scale=0, min_width=110, elem_id="dataset-rename")
            self.delete = gr.Button("Delete…", variant="secondary", scale=0, min_width=120)
            self.confirm = gr.Button("Yes, delete it", variant="stop", visible=False, scale=0, min_width=140)
            self.keep = gr.Button("Cancel", visible=False, scale=0, min_width=120)
        self.shown = gr.HTML("", elem_id="dataset-opened")

    @property
    def outputs(self) -> list[Any]:
        return [self.table, self.chosen]


def attach_library(forge: Forge, library: DatasetLibrary) -> None:
    buttons = [library.delete, library.confirm, library.keep]

    def open_dataset(dataset_id: str | None) -> str:
        record = forge.datasets.find(dataset_id or "")
        rows = preview.preview_rows(forge.datasets.rows(record.id)[: preview.ROWS], STARTER, Recipe().max_length)
        return view.show_dataset(record, forge.datasets.versions()[record.id], rows)

    def rename(dataset_id: str | None, name: str) -> list[Any]:
        record = forge.datasets.rename(forge.datasets.find(dataset_id or "").id, name)
        return [*show_library(forge, record.id), ""]

    def delete(dataset_id: str | None) -> list[Any]:
        forge.datasets.delete(dataset_id or "")
        return [*_ask(False), *show_library(forge), ""]

    listen(library.open.click, open_dataset, library.chosen, library.shown)
    listen(library.rename.click, rename, [library.chosen, library.new_name], [*library.outputs, library.new_name])
    listen(library.delete.click, lambda: _ask(True), None, buttons)
    listen(library.keep.click, lambda: _ask(False), None, buttons)
    listen(library.confirm.click, delete, library.chosen, [*buttons, *library.outputs, library.shown])


def show_library(forge: Forge, chosen: str | None = None) -> list[Any]:
    """[table, choices] of the saved datasets, with `chosen` or the newest one selected."""
    records, versions = forge.datasets.all(), forge.datasets.versions()
    shown = html.table(
        ("Name", "Version", "Task", "Rows", "File", "Added", "Content"),
        (
            (
                each.name,
                versions[each.id],
                each.task,
                f"{each.rows:,}",
                each.source,
                html.date(each.created),
                each.sha256[:12],
            )
            for each in records
        ),
        empty="No dataset is saved yet. You can also train on the samples.",
    )
    choices = [(f"{each.name} ({each.rows} rows)", each.id) for each in records]
    ids = [value for _, value in choices]
    return [shown, gr.Dropdown(choices=choices, value=chosen if chosen in ids else next(iter(ids), None))]


def _ask(asking: bool) -> list[Any]:
    """[delete, confirm, keep]: nothing is deleted without a confirmation."""
    return [gr.Button(visible=not asking), gr.Button(visible=asking), gr.Button(visible=asking)]
