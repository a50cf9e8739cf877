"""The rewards editor of the Train tab: what earns an answer a reward, and the button that previews it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

from modelforge.errors import RecipeError
from modelforge.ui.look.events import listen

ROWS = 4
NONE = ""

KINDS = {
    "matches_reference": "Matches the reference of its row",
    "length": "Has a length within limits",
    "contains": "Contains certain words",
    "avoids": "Avoids certain words",
    "matches_pattern": "Matches a pattern",
    "valid_json": "Is valid JSON",
}
"""Type of reward -> what earns it."""

TEXTS = {
    "contains": ("Words or phrases", "Separated by commas. Each one that occurs earns an equal share."),
    "avoids": ("Words or phrases", "Separated by commas. Each one that occurs costs an equal share."),
    "matches_pattern": ("Pattern", r"A regular expression, for example ^\d+$ for a number."),
    "valid_json": ("JSON schema", 'Optional. For example {"type": "object"}; empty accepts any JSON.'),
}
"""Type of reward -> (label, help) of its text."""

COMPARED = [("by words in common", "f1"), ("word for word", "exact_match"), ("by containing it", "contains")]


class RewardRow:
    """The widgets of one reward. `fields` are those that not every kind uses, `values` all but the box around them."""

    def __init__(self, index: int) -> None:
        name = f"reward-{index + 1}"
        numbers: dict[str, Any] = {"precision": 0, "min_width": 110, "visible": index == 0}
        with gr.Group(visible=index == 0) as self.box:
            with gr.Row(elem_classes="mf-settings"):
                kind = gr.Dropdown(
                    [("none", NONE), *((title, name) for name, title in KINDS.items())],
                    value="length" if index == 0 else NONE,
                    label=f"Reward {index + 1}: an answer that",
                    min_width=200,
                    scale=3,
                    elem_id=f"{name}-kind",
                )
                weight = gr.Number(1.0, label="Weight", min_width=90, scale=1, elem_id=f"{name}-weight")
            with gr.Row(elem_classes="mf-settings"):
                self.fields = [
                    gr.Textbox(
                        label="Words", visible=False, lines=1, max_lines=6, max_length=20_000, elem_id=f"{name}-text"
                    ),
                    gr.Number(1, label="At least (words)", elem_id=f"{name}-least", **numbers),
                    gr.Number(40, label="At most (words)", elem_id=f"{name}-most", **numbers),
                    gr.Dropdown(COMPARED, value="f1", label="Compared", visible=False, elem_id=f"{name}-by"),
                ]
        self.values = [kind, weight, *self.fields]
        listen(kind.change, show_fields, kind, self.fields)


class RewardEditor:
    """Its components. A row whose kind is "none" is ignored. `outputs` are those of `show_default`."""

    def __init__(self) -> None:
        with gr.Column(visible=False, elem_id="rewards") as self.box:
            gr.HTML(
                '<div class="mf-group-title">What earns a reward</div>'
                "<p>Each reward is between 0 and 1, times its weight. The model learns to raise the sum.</p>"
            )
            self.rows = [RewardRow(index) for index in range(ROWS)]
            self.shown_rows = gr.State(1)
            with gr.Row(elem_classes="mf-actions"):
                more = gr.Button("Add a reward", size="sm", elem_id="rewards-more")
                self.preview = gr.Button("Preview the reward", size="sm", elem_id="rewards-preview")
            self.tried = gr.HTML("", elem_id="rewards-tried")
        self.inputs = [widget for row in self.rows for widget in row.values]
        listen(more.click, show_more, self.shown_rows, [self.shown_rows, *(row.box for row in self.rows)])
        shown = [each for row in self.rows for each in (row.box, *row.values)]
        self.outputs = [self.box, self.shown_rows, self.tried, *shown]


def show_fields(kind: str) -> list[Any]:
    """Updates of `RewardRow.fields`: only those that the kind uses are visible."""
    label, help = TEXTS.get(kind, ("Words", ""))
    return [
        gr.update(label=label, info=help, visible=kind in TEXTS),
        gr.update(visible=kind == "length"),
        gr.update(visible=kind == "length"),
        gr.update(visible=kind == "matches_reference"),
    ]


def show_more(count: int) -> list[Any]:
    """[number of visible rows, the box of each]: one more."""
    count = min(count + 1, ROWS)
    return [count, *(gr.Group(visible=index < count) for index in range(ROWS))]


def show_default(*, visible: bool, has_references: bool) -> list[Any]:
    """Updates of `RewardEditor.outputs`: one default reward, or the editor hidden."""
    rows: list[Any] = []
    for index in range(ROWS):
        kind = NONE if index else "matches_reference" if has_references else "length"
        fresh = zip(show_fields(kind), ("", 1, 40, "f1"), strict=True)
        fields = [{**update, "value": value} for update, value in fresh]
        rows += [gr.Group(visible=index == 0), gr.update(value=kind), gr.update(value=1.0), *fields]
    return [gr.Column(visible=visible), 1, "", *rows]


def read_rewards(values: Sequence[Any]) -> list[dict[str, Any]]:
    """The rows as values of grpo.rewards; `values` are those of `RewardEditor.inputs`. Raises RecipeError."""
    width = len(values) // ROWS
    rows = [values[first : first + width] for first in range(0, len(values), width)]
    return [_read_row(f"Reward {number}", row) for number, row in enumerate(rows, start=1) if row[0]]


def _read_row(where: str, values: Sequence[Any]) -> dict[str, Any]:
    kind, weight, text, least, most, by = values
    settings: dict[str, Any] = {"type": kind, "weight": weight}
    if kind in ("contains", "avoids"):
        words = [word.strip() for word in (text or "").split(",") if word.strip()]
        if not words:
            raise RecipeError("There are no words.", where=where, fix="Add some, separated by commas.")
        return {**settings, "words": words}
    if kind == "matches_pattern":
        if not text:
            raise RecipeError("There is no pattern.", where=where, fix="Add one, or choose another reward.")
        return {**settings, "pattern": text}
    if kind == "length":
        return {**settings, "least": least, "most": most}
    if kind == "matches_reference":
        return {**settings, "by": by}
    return {**settings, "json_schema": _read_schema(text, where)}


def _read_schema(text: str, where: str) -> dict[str, Any]:
    if not (text or "").strip():
        return {}
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecipeError("The schema is not valid JSON.", where=where, fix=f"{error}.") from error
    if not isinstance(schema, dict):
        raise RecipeError("A schema must be a JSON object.", where=where, fix='For example {"type": "object"}.')
    return schema
