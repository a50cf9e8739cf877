"""The library of the Dataset tab: saved datasets, to open, rename and delete."""

from __future__ import annotations

from typing import Any

import gradio as gr

from modelforge.data.repairs import REPAIRS
from modelforge.forge import Forge
from modelforge.recipe import Recipe
from modelforge.store import DatasetRecord
from modelforge.tasks import SHAPES
from modelforge.ui.dataset import preview
from modelforge.ui.look import html
from modelforge.ui.look.choices import DeleteButtons, select
from modelforge.ui.look.events import listen


class DatasetLibrary:
    """Its components and what they do."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        gr.HTML("<h3>Library</h3>")
        self.table = gr.HTML("", elem_id="dataset-library")
        with gr.Row(elem_classes="mf-actions"):
            self.chosen = gr.Dropdown([], label="Dataset", scale=2, min_width=260, elem_id="dataset-chosen")
            opening = gr.Button("Open", scale=0, min_width=100, elem_id="dataset-open")
            new_name = gr.Textbox(label="New name", max_length=120, scale=2, min_width=200, elem_id="dataset-new-name")
            renaming = gr.Button("Rename", scale=0, min_width=110, elem_id="dataset-rename")
            deletion = DeleteButtons("dataset-delete")
        opened = gr.HTML("", elem_id="dataset-opened")
        self.outputs = [self.table, self.chosen]

        def rename(dataset_id: str | None, name: str) -> list[Any]:
            record = forge.datasets.rename(forge.datasets.find(dataset_id or "").id, name)
            return [*self.show(record.id), ""]

        def delete(dataset_id: str | None) -> list[Any]:
            forge.datasets.delete(dataset_id or "")
            return [*self.show(), ""]

        listen(opening.click, self._open, self.chosen, opened)
        listen(renaming.click, rename, [self.chosen, new_name], [*self.outputs, new_name])
        deletion.attach(delete, self.chosen, [*self.outputs, opened])

    def show(self, chosen: str | None = None) -> list[Any]:
        """Values of `outputs`: the saved datasets, with `chosen` or the newest one selected."""
        records, versions = self._forge.datasets.all(), self._forge.datasets.versions()
        rows = (
            {
                "Name": each.name,
                "Version": versions[each.id],
                "Task": each.task,
                "Rows": f"{each.rows:,}",
                "File": each.source,
                "Added": html.date(each.created),
                "Content": each.sha256[:12],
            }
            for each in records
        )
        table = html.table(rows, empty="No dataset is saved yet. You can also train on the samples.")
        return [table, select([(f"{each.name} ({each.rows} rows)", each.id) for each in records], chosen)]

    def _open(self, dataset_id: str | None) -> str:
        datasets = self._forge.datasets
        record = datasets.find(dataset_id or "")
        rows = preview.preview_rows(datasets.rows(record.id), preview.find_encoder(Recipe().max_length))
        return html.pairs(_list_facts(record, datasets.versions()[record.id])) + rows


def _list_facts(record: DatasetRecord, version: int) -> list[tuple[str, str]]:
    fixed = [f"{REPAIRS[name].lower()}: {count}" for name, count in record.repairs.items() if name in REPAIRS]
    return [
        ("Name", f"{record.name}, version {version}"),
        ("Source", f"{record.source} ({record.format})"),
        ("Rows", f"{record.rows:,}" + (f" of {record.file_rows:,} in the file" if record.file_rows else "")),
        ("Columns", ", ".join(f"{role} = {column}" for role, column in record.columns.items())),
        ("Fixed", "; ".join(fixed) or "nothing: every row is as in the file"),
        ("Type of rows", SHAPES[record.shape].title if record.shape in SHAPES else record.task),
        ("Added", html.date(record.created)),
        ("SHA-256", record.sha256),
    ]
