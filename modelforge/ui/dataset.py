"""Dataset tab: a file or a sample in; verdict, mapping, problems and a preview out; then into the library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from modelforge.data.checks import Report
from modelforge.data.samples import samples
from modelforge.errors import DatasetError, ModelForgeError
from modelforge.forge import Forge
from modelforge.recipe import STARTER, Recipe, parse_task
from modelforge.tasks import TASKS
from modelforge.ui import html
from modelforge.ui.events import listen, listen_all
from modelforge.ui.preview import preview_rows

GUESS = "found out"
NONE = "-"
SHOWN_PROBLEMS = 12
ROLES = {role.name: role for spec in TASKS.values() for role in spec.roles}


class DatasetTab:
    """Its components; `opened` holds the path of the file looked at (of this session alone)."""

    def __init__(self) -> None:
        gr.HTML(
            html.title("Dataset", "Drop a file of examples, or look at a sample: every problem is shown with its row.")
        )
        self.opened = gr.State("")
        self.saved: Any = None  # the event after which the library has one more
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                self.file = gr.File(
                    label="Your file: JSONL, JSON or CSV",
                    file_types=[".jsonl", ".json", ".csv", ".tsv", ".txt"],
                    elem_id="dataset-file",
                    height=150,
                )
                self.sample = gr.Dropdown(
                    [(f"{sample.name} ({sample.rows} rows)", sample.name) for sample in samples()],
                    label="… or a sample",
                    info="Small datasets that come with ModelForge.",
                    value=None,
                    elem_id="dataset-sample",
                )
                self.task = gr.Dropdown(
                    [(GUESS, ""), *((spec.title, task.value) for task, spec in TASKS.items())],
                    label="Task",
                    info="What the model shall do with your examples.",
                    value="",
                    elem_id="dataset-task",
                )
                self.name = gr.Textbox(
                    label="Name", info="What to call it in the library.", max_length=120, elem_id="dataset-name"
                )
                self.save = gr.Button("Save and go to training →", variant="primary", interactive=False)
            with gr.Column(scale=2, min_width=320):
                self.verdict = gr.HTML(
                    html.note("Nothing opened yet. Drop a file on the left, or pick a sample."),
                    elem_id="dataset-verdict",
                )
                with gr.Group(visible=False) as self.mapping:
                    gr.HTML('<div class="mf-group-title">Which column plays which role</div>')
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
                self.preview = gr.HTML("", elem_id="dataset-preview")
                self.problems = gr.HTML("", elem_id="dataset-problems")
        gr.HTML("<h3>Library</h3>")
        self.library = gr.HTML("", elem_id="dataset-library")
        with gr.Row(elem_classes="mf-actions"):
            self.chosen = gr.Dropdown([], label="Dataset", scale=2, min_width=260, elem_id="dataset-chosen")
            self.delete = gr.Button("Delete…", variant="secondary", scale=0, min_width=120)
            self.confirm = gr.Button("Yes, delete it", variant="stop", visible=False, scale=0, min_width=140)
            self.keep = gr.Button("Keep it", visible=False, scale=0, min_width=120)

    @property
    def report_outputs(self) -> list[Any]:
        return [self.verdict, self.mapping, *self.roles.values(), self.preview, self.problems, self.save]


def build(forge: Forge) -> DatasetTab:
    tab = DatasetTab()
    roles = list(tab.roles.values())
    asked = [tab.opened, tab.task, *roles]

    def open_file(path: str | None, task: str) -> list[Any]:
        """A new file: guess everything."""
        name = Path(path).stem if path else ""
        return [path or "", name, None, *_look(forge, path or "", task, {})]

    def open_sample(wanted: str | None, task: str) -> list[Any]:
        sample = next((sample for sample in samples() if sample.name == wanted), None)
        if sample is None:
            return [gr.skip()] * (3 + len(tab.report_outputs))
        return [str(sample.path), sample.name, None, *_look(forge, str(sample.path), task, {})]

    def change_task(path: str, task: str) -> list[Any]:
        return _look(forge, path, task, {})

    def change_role(path: str, task: str, *columns: str) -> list[Any]:
        return _look(forge, path, task, _said(columns))

    def save(path: str, task: str, name: str, *columns: str) -> list[Any]:
        report = forge.datasets.check(_opened(path), parse_task(task) if task else None, _said(columns))
        return show_library(forge, forge.datasets.add(report, name=name).id)

    listen(
        tab.file.upload,
        open_file,
        [tab.file, tab.task],
        [tab.opened, tab.name, tab.sample, *tab.report_outputs],
        show_progress="minimal",
    )
    listen(tab.file.clear, lambda: open_file(None, ""), None, [tab.opened, tab.name, tab.sample, *tab.report_outputs])
    listen(tab.sample.input, open_sample, [tab.sample, tab.task], [tab.opened, tab.name, tab.file, *tab.report_outputs])
    listen(tab.task.input, change_task, [tab.opened, tab.task], tab.report_outputs)
    listen_all([role.input for role in roles], change_role, asked, tab.report_outputs)
    tab.saved = listen(
        tab.save.click,
        save,
        [tab.opened, tab.task, tab.name, *roles],
        [tab.library, tab.chosen],
        show_progress="minimal",
    )

    listen(tab.delete.click, lambda: _ask(True), None, [tab.delete, tab.confirm, tab.keep])
    listen(tab.keep.click, lambda: _ask(False), None, [tab.delete, tab.confirm, tab.keep])

    def delete(dataset_id: str | None) -> list[Any]:
        forge.datasets.delete(dataset_id or "")
        return [*_ask(False), *show_library(forge)]

    listen(tab.confirm.click, delete, tab.chosen, [tab.delete, tab.confirm, tab.keep, tab.library, tab.chosen])
    return tab


def show_library(forge: Forge, chosen: str | None = None) -> list[Any]:
    """[table, choices] of the datasets that were added, with `chosen` or the newest one picked."""
    records = forge.datasets.all()
    shown = html.table(
        ("Name", "Task", "Rows", "File", "Added", "Content"),
        ((each.name, each.task, each.rows, each.source, html.date(each.created), each.sha256[:12]) for each in records),
        empty="No dataset has been saved yet. The samples can be used for training as they are.",
    )
    choices = [(f"{each.name} ({each.rows} rows)", each.id) for each in records]
    ids = [value for _, value in choices]
    return [shown, gr.Dropdown(choices=choices, value=chosen if chosen in ids else next(iter(ids), None))]


def _look(forge: Forge, path: str, task: str, columns: dict[str, str]) -> list[Any]:
    """Check the opened file and show what was found."""
    nothing = [
        gr.Group(visible=False),
        *(gr.Dropdown(visible=False) for _ in ROLES),
        "",
        "",
        gr.Button(interactive=False),
    ]
    if not path:
        return [html.note("Nothing opened yet. Drop a file on the left, or pick a sample."), *nothing]
    try:
        report = forge.datasets.check(_opened(path), parse_task(task) if task else None, columns)
    except ModelForgeError as error:
        return [html.note(str(error), "bad"), *nothing]
    shown = {role.name for role in TASKS[report.task].roles}
    widgets = [
        gr.Dropdown(
            choices=[NONE, *report.columns],
            value=report.mapping.columns.get(name, NONE),
            visible=name in shown and bool(report.columns),
        )
        for name in ROLES
    ]
    return [
        _verdict(report),
        gr.Group(visible=bool(report.columns)),
        *widgets,
        preview_rows(report.mapped_rows, report.task, STARTER, Recipe().max_length),
        _problems(report),
        gr.Button(interactive=report.ok),
    ]


def _verdict(report: Report) -> str:
    counts = report.counts
    usable = len(report.mapped_rows)
    numbers = html.tiles(
        [
            ("Rows", report.rows),
            ("Usable", usable),
            ("Errors", counts.errors),
            ("Warnings", counts.warnings),
            ("Duplicates", counts.duplicates),
            ("Format", f"{report.format}, {report.encoding}" if report.format else "unknown"),
        ]
    )
    task = TASKS[report.task].title
    if report.ok and counts.warnings:
        return html.note(f"Ready to train, with {counts.warnings} warnings. Task: {task}.", "warning") + numbers
    if report.ok:
        return html.note(f"Ready to train. Task: {task}.", "good") + numbers
    first = next(problem for problem in report.problems if problem.severity == "error")
    place = f"Row {first.row}: " if first.row else ""
    return html.note(f"Not ready yet. {place}{first.problem} {first.fix}", "bad") + numbers


def _problems(report: Report) -> str:
    if not report.problems:
        return ""
    rows = (
        (each.severity, each.row or NONE, each.line or NONE, each.column or NONE, each.problem, each.fix)
        for each in report.problems[:SHOWN_PROBLEMS]
    )
    total = report.counts.errors + report.counts.warnings
    more = f"The first {SHOWN_PROBLEMS} of {total}." if total > SHOWN_PROBLEMS else ""
    shown = html.table(("Severity", "Row", "Line", "Column", "Problem", "What to do"), rows, empty="")
    return f"<h3>Problems</h3>{shown}{html.note(more) if more else ''}"


def _opened(path: str) -> Path:
    if not path:
        raise DatasetError("No file is open.", fix="Drop a file, or pick a sample.")
    return Path(path)


def _said(columns: Sequence[str]) -> dict[str, str]:
    """The mapping that the widgets show, role -> column."""
    return {name: column for name, column in zip(ROLES, columns, strict=True) if column and column != NONE}


def _ask(asking: bool) -> list[Any]:
    """[delete, confirm, keep]: ask before anything is deleted."""
    return [gr.Button(visible=not asking), gr.Button(visible=asking), gr.Button(visible=asking)]
