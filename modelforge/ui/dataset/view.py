"""What is shown of a report: verdict, mapping, problems and fixes. The handlers are in `tab`."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from modelforge.data.repairs import REPAIRS
from modelforge.data.report import Report
from modelforge.data.row_cache import MappedRows
from modelforge.data.split import Leak
from modelforge.store import DatasetRecord
from modelforge.tasks import SHAPES, TASKS
from modelforge.ui.dataset.reports import NONE, ROLES
from modelforge.ui.look import html

SHOWN_PROBLEMS = 12
SHOWN_LEAKS = 50
NOTHING_OPEN = "No file is open. Drop a file, or choose a sample."
CANCELLED = "Reading was cancelled; nothing was saved. Drop a file, or choose a sample."


def show_verdict(report: Report) -> str:
    counts = report.counts
    numbers = html.tiles(
        [
            ("Rows", f"{report.rows:,}"),
            ("Usable", f"{len(report.mapped_rows):,}"),
            ("Errors", f"{counts.errors:,}"),
            ("Warnings", f"{counts.warnings:,}"),
            ("Duplicates", f"{counts.duplicates:,}"),
            ("Format", ", ".join(filter(None, (report.format, report.encoding))) or "unknown"),
        ]
    )
    return _sentence(report) + numbers


def _sentence(report: Report) -> str:
    if not report.ok:
        first = report.all_problems.first_error or report.problems[0]
        place = f"Row {first.row}: " if first.row else ""
        return html.note(f"Not ready yet. {place}{first.problem} {first.fix}", "bad")
    task, shape = TASKS[report.task].title, report.shape
    if not shape.methods:
        return html.note(f"{shape.title}: every row can be used, but no method trains on them yet.", "warning")
    what = "" if report.shape is TASKS[report.task].shapes[0] else f" {shape.title}."
    if report.counts.warnings:
        return html.note(f"Ready to train, with {report.counts.warnings:,} warnings. Task: {task}.{what}", "warning")
    return html.note(f"Ready to train. Task: {task}.{what}", "good")


def show_roles(report: Report | None) -> list[Any]:
    """[group, a dropdown for each role]: the mapped columns, with the reason for each guess."""
    if report is None or not report.columns:
        return [gr.Group(visible=False), *(gr.Dropdown(visible=False) for _ in ROLES)]
    shown = {role.name: role for role in report.shape.roles}
    widgets = []
    for name in ROLES:
        reason = report.mapping.reasons.get(name, "")
        help = shown[name].help if name in shown else ""
        widgets.append(
            gr.Dropdown(
                choices=[NONE, *report.columns],
                value=report.mapping.columns.get(name, NONE),
                visible=name in shown,
                info=f"{help} {reason}".strip(),
            )
        )
    return [gr.Group(visible=True), *widgets]


def show_unused(report: Report) -> str:
    unused = report.unused_columns
    listed = ", ".join(unused[:20]) + (f" and {len(unused) - 20} more" if len(unused) > 20 else "")
    return f'<div class="mf-unused">Unused columns: {html.text(listed)}.</div>' if unused else ""


def show_repairs(report: Report, chosen: Sequence[str]) -> Any:
    """The fixes that would change something here, each with the number of changes."""
    offered = [
        (f"{REPAIRS[name]} ({count.possible:,})", name)
        for name, count in report.repairs.items()
        if count.possible or name in chosen
    ]
    return gr.CheckboxGroup(choices=offered, value=list(chosen), visible=bool(offered))


def show_problems(report: Report) -> str:
    if not report.problems:
        return ""
    errors_first = sorted(report.problems, key=lambda each: each.severity)
    rows = (
        (
            each.severity,
            *(value or html.NOTHING for value in (each.row, each.line, each.column)),
            each.problem,
            each.fix,
        )
        for each in errors_first[:SHOWN_PROBLEMS]
    )
    total = report.counts.errors + report.counts.warnings
    more = (
        html.note(f"The first {SHOWN_PROBLEMS} of {total:,}. Download the file below for all of them.")
        if total > SHOWN_PROBLEMS
        else ""
    )
    table = html.table(("Severity", "Row", "Line", "Column", "Problem", "Fix"), rows, empty="")
    return f"<h3>Problems</h3>{table}{more}"


def write_problems(report: Report) -> str:
    """Write all problems to a CSV file; returns its path, in a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="modelforge-problems-"))
    path = folder / "problems.csv"
    report.all_problems.write_csv(path)
    return str(path)


def show_leaks(leaks: Sequence[Leak], training: MappedRows, evaluation: MappedRows) -> str:
    """Which rows of the evaluation file are also in the training file."""
    if not leaks:
        return html.note(
            f"None of the {len(evaluation):,} rows is in the training file or similar to one of its rows.", "good"
        )
    rows = (
        (evaluation.number(leak.evaluation_row - 1), training.number(leak.training_row - 1), leak.kind)
        for leak in leaks[:SHOWN_LEAKS]
    )
    sentence = (
        f"{len(leaks):,} of the {len(evaluation):,} rows {'is' if len(leaks) == 1 else 'are'} also in the training "
        "file, so scores would look better than they are. Remove them from one of the files."
    )
    more = html.note(f"Only the first {SHOWN_LEAKS} are shown.") if len(leaks) > SHOWN_LEAKS else ""
    table = html.table(("Evaluation row", "Training row", "Match"), rows, empty="")
    return html.note(sentence, "warning") + table + more


def show_dataset(record: DatasetRecord, version: int, preview: str) -> str:
    """A dataset of the library, opened."""
    fixed = [f"{REPAIRS[name].lower()}: {count}" for name, count in record.repairs.items() if name in REPAIRS]
    facts = [
        ("Name", f"{record.name}, version {version}"),
        ("Source", f"{record.source} ({record.format})"),
        ("Rows", f"{record.rows:,}" + (f" of {record.file_rows:,} in the file" if record.file_rows else "")),
        ("Columns", ", ".join(f"{role} = {column}" for role, column in record.columns.items())),
        ("Fixed", "; ".join(fixed) or "nothing: every row is as in the file"),
        ("Type of rows", SHAPES[record.shape].title if record.shape in SHAPES else record.task),
        ("Added", html.date(record.created)),
        ("SHA-256", record.sha256),
    ]
    return html.pairs(facts) + preview


def show_progress(share: float) -> str:
    return html.bar(share, f"Reading the file: {share:.0%}" if share < 1 else "Comparing rows …")


@functools.lru_cache(maxsize=1)
def shape_choices() -> tuple[tuple[str, str], ...]:
    """(title, name) of every shape that examples can have."""
    return tuple((f"{shape.title} ({TASKS[shape.task].title.lower()})", shape.name) for shape in SHAPES.values())
