"""What the handlers of the Dataset tab return: values for its components, in the order in which it lists them."""

from __future__ import annotations

from typing import Any

import gradio as gr

from modelforge.data.report import Report
from modelforge.data.row_cache import MappedRows
from modelforge.recipe import STARTER, Recipe, bounds, fields
from modelforge.ui.dataset import preview, view
from modelforge.ui.dataset.reports import CheckRequest

LONGEST_SUGGESTED = 2048  # tokens


def show_unsure(count: int) -> list[Any]:
    """All of `DatasetTab.report_outputs` until a file is checked: what is shown stays, but cannot be saved."""
    return [gr.skip(), gr.skip(), gr.Button(interactive=False), *[gr.skip()] * (count - 3)]


def show_waiting(sentence: str, *, is_new: bool = True) -> list[Any]:
    """All of `DatasetTab.report_outputs` while a file is read; what another file showed is removed."""
    verdict, _, save, *others = show_nothing(sentence)
    return [verdict, gr.Button(visible=True), save, *(others if is_new else [gr.skip()] * len(others))]


def show_report(report: Report, request: CheckRequest) -> list[Any]:
    """All of `DatasetTab.report_outputs` but what the model sees."""
    has_problems = bool(report.problems)
    return [
        view.show_verdict(report),
        gr.Button(visible=False),
        gr.Button(interactive=report.ok),
        gr.Dropdown(value=report.shape.name, visible=bool(report.columns)),
        view.show_repairs(report, request.repairs),
        *view.show_roles(report),
        view.show_unused(report),
        view.show_problems(report),
        gr.DownloadButton(value=view.write_problems(report) if has_problems else None, visible=has_problems),
        gr.Column(visible=len(report.mapped_rows) > 0),
    ]


def show_first_row(report: Report, max_length: int = 0) -> list[Any]:
    """[row, max_length, preview, lengths]; without a max_length, with one that cuts almost no rows."""
    if not len(report.mapped_rows):
        return [1, max_length or Recipe().max_length, "", ""]
    shown = max_length or suggest_max_length(report.mapped_rows)
    return [1, shown, *show_row(report, 1, shown)]


def suggest_max_length(rows: MappedRows) -> int:
    """At least the default. A longer one takes memory, so outliers are left to the user."""
    default = Recipe().max_length
    return min(max(default, preview.propose_max_length(rows, STARTER)), LONGEST_SUGGESTED)


def limit(max_length: int) -> int:
    """The nearest one that a recipe accepts."""
    allowed = bounds(fields()["max_length"])
    return int(min(max(max_length, allowed["ge"]), allowed["le"]))


def show_row(report: Report, row: int, max_length: int) -> list[Any]:
    """[preview, lengths] for one usable row, counted from 1."""
    rows = report.mapped_rows
    if not len(rows):
        return ["", ""]
    index = min(max(row, 1), len(rows)) - 1
    place = f"Row {index + 1:,} of {len(rows):,}"
    place += f" (row {rows.number(index):,} of the file)" if rows.number(index) != index + 1 else ""
    return [
        preview.preview_row(rows[index], place, STARTER, max_length),
        preview.show_lengths(rows, STARTER, max_length),
    ]


def show_nothing(sentence: str) -> list[Any]:
    """All of `DatasetTab.report_outputs` while no file can be shown."""
    return [
        sentence,
        gr.Button(visible=False),
        gr.Button(interactive=False),
        gr.Dropdown(value=None, visible=False),
        gr.CheckboxGroup(choices=[], value=[], visible=False),
        *view.show_roles(None),
        "",
        "",
        gr.DownloadButton(visible=False),
        gr.Column(visible=False),
        1,
        Recipe().max_length,
        "",
        "",
    ]
