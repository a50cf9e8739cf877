"""Widgets made from the Recipe: one for each setting, with its sentence, its default and its bounds."""

from __future__ import annotations

import types
import typing
from typing import Any

import gradio as gr
from pydantic.fields import FieldInfo

from modelforge.recipe import bounds, describe_bounds, fields

TITLES = {
    "tuning": "Adapter",
    "training": "Training",
    "data": "Data",
    "hardware": "Machine",
    "run": "Run",
}


def build_widgets(leave_out: set[str]) -> dict[str, Any]:
    """name -> widget for every setting but those that have a place of their own, grouped under their titles."""
    listed = {name: info for name, info in fields().items() if name not in leave_out}
    made: dict[str, Any] = {}
    for group, title in TITLES.items():
        members = {name: info for name, info in listed.items() if _group(info) == group}
        if members:
            gr.HTML(f'<div class="mf-group-title">{title}</div>')
            with gr.Row(elem_classes="mf-settings"):
                made |= {name: _widget(name, info) for name, info in members.items()}
    return made


def _group(info: FieldInfo) -> str:
    extra = info.json_schema_extra
    return str(extra["group"]) if isinstance(extra, dict) else ""


def _widget(name: str, info: FieldInfo) -> Any:
    kind: Any = info.annotation
    shared = {"label": name, "info": _sentence(info), "min_width": 220, "elem_id": f"set-{name.replace('.', '-')}"}
    if typing.get_origin(kind) is typing.Literal:
        return gr.Dropdown(list(typing.get_args(kind)), value=info.default, **shared)
    if kind in (int, float):
        return gr.Number(info.default, precision=0 if kind is int else None, **shared)
    if isinstance(kind, types.GenericAlias) or kind is str:
        return gr.Textbox(info.default or "", **shared)
    raise TypeError(f"there is no widget for setting {name} of type {kind}")


def _sentence(info: FieldInfo) -> str:
    limits = describe_bounds(info) if bounds(info) else ""
    return f"{info.description} {limits[0].upper()}{limits[1:]}." if limits else str(info.description)
