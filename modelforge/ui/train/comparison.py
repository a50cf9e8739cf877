"""Runs side by side, part of the Train tab: curves, the settings that differ, what was measured, and both as CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from modelforge.errors import RunStateError
from modelforge.forge import Forge
from modelforge.runs.comparison import AXES, FEWEST, MOST, Axis, Comparison, Point
from modelforge.scores.titles import SHOWN, write_difference, write_measured
from modelforge.store import RunRecord
from modelforge.ui.look import html
from modelforge.ui.look.chart import draw_runs
from modelforge.ui.look.events import listen, listen_all
from modelforge.ui.look.files import make_file

CHARTS = {
    "loss": ("Loss", "eval_loss"),
    "reward": ("Reward", "eval_mean_reward"),
    "reward_margin": ("Reward margin", "eval_reward_margin"),
}
"""Curve of the training steps -> (title, curve of the evaluations)."""
EMPTY = f"Choose {FEWEST} to {MOST} runs."
FILES: dict[str, Callable[[Comparison], str]] = {
    "comparison.csv": Comparison.as_csv,
    "curves.csv": Comparison.curves_as_csv,
}


class ComparisonPanel:
    """Its components."""

    def __init__(self) -> None:
        # The list changes, and a running handler can still send the value from before.
        self.chosen = gr.Dropdown(
            [], value=[], multiselect=True, max_choices=MOST, allow_custom_value=True, label="Runs", info=EMPTY,
            elem_id="compare-runs",
        )  # fmt: skip
        self.axis = gr.Radio(list(AXES), value=AXES[0], label="Curves over", elem_id="compare-axis")
        self.shown = gr.HTML(elem_id="compare-shown")
        with gr.Row(visible=False, elem_classes="mf-actions") as self.row:
            self.buttons = [
                gr.Button(f"Download {name}", size="sm", scale=0, min_width=220, elem_id=f"compare-{name[:-4]}")
                for name in FILES
            ]
        # The file is made on demand; then the browser presses this one.
        self.files = [gr.DownloadButton(name, visible="hidden", elem_id=f"compare-{name[:-4]}-file") for name in FILES]


def attach_comparison(forge: Forge, panel: ComparisonPanel) -> None:
    def show(chosen: Sequence[str] | None, axis: Axis) -> list[Any]:
        if len(chosen or ()) < FEWEST:
            return [html.note(EMPTY) if chosen else "", gr.Row(visible=False)]
        return [show_comparison(forge.runs.compare(list(chosen or ())), axis), gr.Row(visible=True)]

    def write(name: str, chosen: Sequence[str] | None) -> Any:
        if not chosen:
            raise RunStateError("No runs are chosen.", where="compare", fix=EMPTY)
        path: Path = make_file(name)
        path.write_bytes(FILES[name](forge.runs.compare(list(chosen))).encode("utf-8-sig"))  # as spreadsheets expect
        return gr.DownloadButton(value=str(path))

    inputs = [panel.chosen, panel.axis]
    listen_all([each.change for each in inputs], show, inputs, [panel.shown, panel.row])
    for name, button, file in zip(FILES, panel.buttons, panel.files, strict=True):
        written = listen(button.click, partial(write, name), panel.chosen, file)
        written.success(None, js=f"() => document.querySelector('#{file.elem_id}').click()")


def offer_runs(records: Sequence[RunRecord]) -> Any:
    """An update of `ComparisonPanel.chosen` that leaves what is chosen."""
    return gr.update(choices=[(f"{each.label or each.id} · {html.date(each.created)}", each.id) for each in records])


def show_comparison(found: Comparison, axis: Axis) -> str:
    notes = "".join(html.note(note, "warning") for note in found.notes)
    return notes + _draw(found, axis) + _table(found) + _table_from_first(found)


def _draw(found: Comparison, axis: Axis) -> str:
    names = [record.label or record.id for record in found.runs]
    nothing: list[None] = [None] * len(names)
    drawn = ""
    for name, (title, held_out) in CHARTS.items():
        if name == "loss" and "reward" in found.curves:
            continue  # it means nothing when training with a reward
        both = (found.curves.get(each, nothing) for each in (name, held_out))
        lines = [(label, *(_place(points, axis) for points in pair)) for label, *pair in zip(names, *both, strict=True)]
        drawn += draw_runs(lines, title=title, unit=axis)
    return drawn + (html.aside("Lines: training, smoothed. Dashed, with dots: held-out rows.") if drawn else "")


def _place(points: Sequence[Point] | None, axis: Axis) -> list[tuple[float, float]]:
    return [(getattr(point, axis), point.value) for point in points or ()]


def _table(found: Comparison) -> str:
    """A row for each run: what differs, and what was measured."""
    rows = []
    for index, record in enumerate(found.runs):
        row = {"Run": f"{index + 1} {record.label or record.id}", "State": record.state.value}
        for name, values in found.settings.items():
            if name != "name":
                row[name] = record.dataset_name if name == "dataset" else str(values[index])
        for name, measured in found.metrics.items():
            change = found.differences.get(name, [None] * len(found.runs))[index]
            value = measured[index]
            row[_title(name)] = html.NOTHING if value is None else write_measured(name, value, change)
        rows.append(row)
    intervals = "After the comma: the change since before training, with its 95% interval." if found.differences else ""
    return f"<h3>Settings that differ, and what was measured</h3>{html.table(rows)}" + (
        html.aside(intervals) if intervals else ""
    )


def _table_from_first(found: Comparison) -> str:
    """A row for each other run: how much it differs from the first, on the rows that both measured."""
    rows = []
    for index, record in enumerate(found.runs):
        changes = {name: listed[index] for name, listed in found.from_first.items()}
        counts = [int(change["rows"] or 0) for change in changes.values() if change]
        if counts:
            cells = {_title(name): write_difference(name, change) or html.NOTHING for name, change in changes.items()}
            rows.append({"Run": f"{index + 1} {record.label or record.id}", "Rows of both": str(max(counts)), **cells})
    if not rows:
        return ""
    title = html.text(found.runs[0].label or found.runs[0].id)
    return f"<h3>Difference from 1 {title}</h3>{html.table(rows)}" + html.aside(
        "With its 95% interval, row by row. An interval that includes 0 shows no clear difference."
    )


def _title(metric: str) -> str:
    return SHOWN[metric].title if metric in SHOWN else metric
