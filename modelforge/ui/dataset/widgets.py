"""The widgets of the Dataset tab."""

from __future__ import annotations

from typing import Any

import gradio as gr

from modelforge.data.samples import samples
from modelforge.forge import Forge
from modelforge.recipe import Recipe
from modelforge.tasks import SHAPES, TASKS
from modelforge.ui.dataset.library import DatasetLibrary
from modelforge.ui.dataset.reports import NONE, ROLES, LatestRequest, ReportCache
from modelforge.ui.look import html

LONGEST_PASTE = 2_000_000  # characters
NOTHING_OPEN = "No file is open. Drop a file, or choose a sample."


class DatasetTab:
    """Its components. `opened` and `evaluation` hold the paths of the files of this session, `latest` its newest
    request. `mapped` is what decides how a file is read, `outputs` what opening a file changes."""

    def __init__(self, forge: Forge) -> None:
        gr.HTML(
            html.title(
                "Dataset",
                "Drop a file of examples (JSONL, JSON, CSV, Excel, Parquet or text, also zipped), or open a sample. "
                "Every problem is shown with its row.",
            )
        )
        self.opened = gr.State("")
        self.evaluation = gr.State("")
        self.latest = gr.State(LatestRequest())
        self.reports = ReportCache()
        self.saved: Any = None  # the event after which the library has one more
        with gr.Row(elem_id="dataset-columns"):
            with gr.Column(scale=1, min_width=300):
                self._build_sources()
                self._build_choices()
            with gr.Column(scale=2, min_width=320):
                self._build_report()
        self.library = DatasetLibrary(forge)
        self.mapped = [self.opened, self.shape, self.repairs, *self.roles.values()]
        sources = [self.file, self.sample, self.name, self.evaluation, self.evaluation_file, self.leaks]
        report = [self.verdict, self.cancel, self.save, self.mapping, self.unused, self.problems, self.all_problems]
        self.outputs = [*sources, *self.mapped, *report, self.seen, self.row, self.max_length, *self.shown_row]

    def _build_sources(self) -> None:
        self.file = gr.File(label="Your file", elem_id="dataset-file", height=150)
        self.sample = gr.Dropdown(
            [(f"{sample.name} ({sample.rows} rows)", sample.name) for sample in samples()],
            label="… or a sample",
            info="Small datasets that come with ModelForge.",
            value=None,
            elem_id="dataset-sample",
        )
        with gr.Accordion("… or paste rows", open=False):
            self.pasted = gr.Textbox(
                label="Rows",
                info="A table copied from a spreadsheet, JSON lines, or plain text.",
                lines=5,
                max_lines=12,
                max_length=LONGEST_PASTE,
                elem_id="dataset-pasted",
            )
            self.check_pasted = gr.Button("Check these rows", elem_id="dataset-check-pasted")
        with gr.Accordion("… or from the Hugging Face Hub", open=False):
            self.hub_id = gr.Textbox(
                label="Dataset", info="Written as owner/name.", max_length=120, elem_id="dataset-hub-id"
            )
            with gr.Row():
                self.hub_config = gr.Textbox(
                    label="Config", info="If there are several.", max_length=120, min_width=100
                )
                self.hub_split = gr.Textbox(label="Split", info="Default: train.", max_length=120, min_width=100)
            self.fetch = gr.Button("Download", elem_id="dataset-fetch")

    def _build_choices(self) -> None:
        self.shape = gr.Dropdown(
            [(f"{shape.title} ({TASKS[shape.task].title.lower()})", shape.name) for shape in SHAPES.values()],
            label="Type of rows",
            info="Detected from the columns. Change it if the guess is wrong.",
            value=None,
            visible=False,
            elem_id="dataset-shape",
        )
        self.repairs = gr.CheckboxGroup(
            [],
            label="Fixes",
            info="Only the fixes that you tick are applied; your file is not changed.",
            visible=False,
            elem_id="dataset-repairs",
        )
        self.name = gr.Textbox(
            label="Name", info="The dataset's name in the library.", max_length=120, elem_id="dataset-name"
        )
        self.save = gr.Button("Save and go to training →", variant="primary", interactive=False)

    def _build_report(self) -> None:
        self.verdict = gr.HTML(html.note(NOTHING_OPEN), elem_id="dataset-verdict")
        self.cancel = gr.Button("Cancel", variant="stop", visible=False, elem_id="dataset-cancel")
        with gr.Group(visible=False) as self.mapping:
            gr.HTML('<div class="mf-group-title">Columns and their roles</div>')
            with gr.Row(elem_classes="mf-settings"):
                self.roles = {
                    name: gr.Dropdown(
                        [NONE],
                        value=NONE,
                        label=name,
                        info=role.help,
                        visible=False,
                        min_width=180,
                        elem_id=f"role-{name}",
                    )
                    for name, role in ROLES.items()
                }
        self.unused = gr.HTML("")
        self.problems = gr.HTML("", elem_id="dataset-problems")
        self.all_problems = gr.DownloadButton(
            "Download all problems (CSV)", visible=False, elem_id="dataset-all-problems"
        )
        with gr.Column(visible=False) as self.seen:
            gr.HTML("<h3>What the model sees</h3>")
            with gr.Row(elem_classes="mf-actions"):
                self.row = gr.Number(1, label="Row", precision=0, minimum=1, min_width=110, elem_id="dataset-row")
                self.max_length = gr.Number(
                    Recipe().max_length,
                    label="max_length (tokens)",
                    precision=0,
                    minimum=8,
                    min_width=110,
                    elem_id="dataset-max-length",
                )
            self.preview = gr.HTML("", elem_id="dataset-preview")
            self.lengths = gr.HTML("", elem_id="dataset-lengths")
            self.shown_row = [self.preview, self.lengths]
            with gr.Accordion("Evaluate on a separate file", open=False):
                gr.HTML(
                    "<p>By default, a share of the rows is held out for evaluation. With a separate evaluation file, "
                    "all rows above are used for training; the file is checked for rows that are also in them.</p>"
                )
                self.evaluation_file = gr.File(label="Evaluation file", height=150, elem_id="dataset-evaluation-file")
                self.leaks = gr.HTML("", elem_id="dataset-leaks")
