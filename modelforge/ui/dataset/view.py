"""What is shown of a report, as values of the tab's components: verdict, mapping, problems, fixes and one row.

The handlers are in `tab`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from modelforge.data.problems import COLUMNS, ProblemKind
from modelforge.data.repairs import REPAIRS
from modelforge.data.report import Report
from modelforge.data.row_cache import MappedRows
from modelforge.data.rows import Problem
from modelforge.data.split import Leak
from modelforge.recipe import Recipe, bounds, fields
from modelforge.tasks import TASKS
from modelforge.ui.dataset import preview
from modelforge.ui.dataset.reports import NONE, ROLES, CheckRequest
from modelforge.ui.dataset.widgets import DatasetTab
from modelforge.ui.look import html
from modelforge.ui.look.files import make_file

SHOWN_KINDS = 12
SHOWN_OF_A_KIND = 100
SHOWN_LEAKS = 50
LONGEST_SUGGESTED = 2048  # tokens

Updates = dict[Any, Any]
"""Component -> its value."""


def show_waiting(tab: DatasetTab, sentence: str, *, is_new: bool = True) -> Updates:
    """While a file is read; what another file showed is removed."""
    others = show_nothing(tab, sentence) if is_new else {tab.verdict: sentence, **show_unsure(tab)}
    return {**others, tab.cancel: gr.Button(visible=True)}


def show_unsure(tab: DatasetTab) -> Updates:
    """Until a file is checked: what is shown stays, but cannot be saved."""
    return {tab.save: gr.Button(interactive=False)}


def show_nothing(tab: DatasetTab, sentence: str) -> Updates:
    """While no file can be shown."""
    return {
        tab.verdict: sentence,
        tab.cancel: gr.Button(visible=False),
        **show_unsure(tab),
        tab.shape: gr.Dropdown(value=None, visible=False),
        tab.repairs: gr.CheckboxGroup(choices=[], value=[], visible=False),
        tab.mapping: gr.Group(visible=False),
        **{role: gr.Dropdown(visible=False) for role in tab.roles.values()},
        tab.unused: "",
        tab.problems: "",
        tab.all_problems: gr.DownloadButton(visible=False),
        tab.seen: gr.Column(visible=False),
        tab.row: 1,
        tab.max_length: Recipe().max_length,
        tab.preview: "",
        tab.lengths: "",
    }


def show_report(tab: DatasetTab, report: Report, request: CheckRequest) -> Updates:
    """All but what the model sees."""
    has_problems = bool(report.problems)
    return {
        tab.verdict: show_verdict(report),
        tab.cancel: gr.Button(visible=False),
        tab.save: gr.Button(interactive=report.ok),
        tab.shape: gr.Dropdown(value=report.shape.name, visible=bool(report.columns)),
        tab.repairs: _offer_repairs(report, request.repairs),
        tab.mapping: gr.Group(visible=bool(report.columns)),
        **{tab.roles[name]: _show_role(report, name) for name in ROLES},
        tab.unused: _show_notes(report),
        tab.problems: show_problems(report),
        tab.all_problems: gr.DownloadButton(
            value=_write_problems(report) if has_problems else None, visible=has_problems
        ),
        tab.seen: gr.Column(visible=len(report.mapped_rows) > 0),
    }


def show_first_row(tab: DatasetTab, report: Report, max_length: int) -> Updates:
    """What the model sees; with a max_length of 0, with one that cuts almost no rows."""
    shown = max_length or suggest_max_length(report.mapped_rows)
    return {tab.row: 1, tab.max_length: shown, **dict(zip(tab.shown_row, show_row(report, 1, shown), strict=True))}


def suggest_max_length(rows: MappedRows) -> int:
    """At least the default. A longer one takes memory, so outliers are left to the user."""
    lengths = preview.measure_rows(rows)
    proposed = lengths.proposed() if lengths and lengths.tokens else 0
    return min(max(Recipe().max_length, proposed), LONGEST_SUGGESTED)


def limit(max_length: int) -> int:
    """The nearest one that a recipe accepts."""
    allowed = bounds(fields()["max_length"])
    return int(min(max(max_length, allowed["ge"]), allowed["le"]))


def show_row(report: Report, row: int, max_length: int) -> list[str]:
    """Values of `DatasetTab.shown_row` for one usable row, counted from 1."""
    rows = report.mapped_rows
    if not len(rows):
        return ["", ""]
    index = min(max(row, 1), len(rows)) - 1
    place = f"Row {index + 1:,} of {len(rows):,}"
    place += f" (row {rows.number(index):,} of the file)" if rows.number(index) != index + 1 else ""
    lengths = preview.measure_rows(rows)
    shown = preview.preview_row(rows[index], place, preview.find_encoder(max_length))
    return [shown, preview.show_lengths(lengths, max_length) if lengths else ""]


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


def _show_role(report: Report, name: str) -> Any:
    """The column of a role, with the reason for the guess."""
    role = next((role for role in report.shape.roles if role.name == name), None)
    return gr.Dropdown(
        choices=[NONE, *report.columns],
        value=report.mapping.columns.get(name, NONE),
        visible=role is not None,
        info=f"{role.help if role else ''} {report.mapping.reasons.get(name, '')}".strip(),
    )


def _show_notes(report: Report) -> str:
    return "".join(f'<div class="mf-unused">{html.text(sentence)}</div>' for sentence in report.notes)


def _offer_repairs(report: Report, chosen: Sequence[str]) -> Any:
    """The fixes that would change something here, each with the number of changes. What is ticked stays as it is: it
    may have changed since the check began."""
    offered = [
        (f"{REPAIRS[name]} ({count.possible:,})", name)
        for name, count in report.repairs.items()
        if count.possible or name in chosen
    ]
    return gr.CheckboxGroup(choices=offered, visible=bool(offered))


def show_problems(report: Report) -> str:
    if not report.problems:
        return ""
    kinds = report.all_problems.kinds
    rows = (_show_kind(kind, members) for kind, members in kinds[:SHOWN_KINDS])
    sentence = f"The first {SHOWN_KINDS} kinds of {len(kinds):,}. Download the file below for all problems."
    more = html.note(sentence) if len(kinds) > SHOWN_KINDS else ""
    return f"<h3>Problems</h3>{html.table(rows)}{more}"


def _show_kind(kind: ProblemKind, members: Sequence[Problem]) -> dict[str, object]:
    """A row of the table: one problem, or all of one kind, which open at a press."""
    row: dict[str, object] = {name.capitalize(): getattr(kind.first, name) or html.NOTHING for name in COLUMNS}
    if kind.count == 1:
        return row
    listed = [f"Row {each.row or html.NOTHING}: {each.problem}" for each in members[:SHOWN_OF_A_KIND]]
    if kind.count > len(listed):
        listed.append(f"and {kind.count - len(listed):,} more, in the file below")
    opened = html.details(f"Show {kind.count:,} like it", listed)
    problem = html.Markup(f"<div>{html.text(kind.first.problem)}{opened}</div>")
    return {**row, "Row": f"{kind.count:,} rows", "Line": html.NOTHING, "Problem": problem}


def _write_problems(report: Report) -> str:
    """Write all problems to a temporary CSV file; returns its path."""
    path = make_file("problems.csv")
    report.all_problems.write_csv(path)
    return str(path)


def show_leaks(leaks: Sequence[Leak], training: MappedRows, evaluation: MappedRows) -> str:
    """Which rows of the evaluation file are also in the training file."""
    if not leaks:
        return html.note(
            f"None of the {len(evaluation):,} rows is in the training file or similar to one of its rows.", "good"
        )
    rows = (
        {
            "Evaluation row": evaluation.number(leak.evaluation_row - 1),
            "Training row": training.number(leak.training_row - 1),
            "Match": leak.kind,
        }
        for leak in leaks[:SHOWN_LEAKS]
    )
    sentence = (
        f"{len(leaks):,} of the {len(evaluation):,} rows {'is' if len(leaks) == 1 else 'are'} also in the training "
        "file, so scores would look better than they are. Remove them from one of the files."
    )
    more = html.note(f"Only the first {SHOWN_LEAKS} are shown.") if len(leaks) > SHOWN_LEAKS else ""
    return html.note(sentence, "warning") + html.table(rows) + more
