"""Widgets made from the Recipe: one for each setting, with its description, default and bounds."""

from __future__ import annotations

import types
import typing
from collections.abc import Collection
from typing import Any

import gradio as gr
from pydantic.fields import FieldInfo

from modelforge.recipe import Recipe, bounds, describe_bounds, fields

TITLES = {
    "tuning": "Adapter",
    "dpo": "Preferences (DPO)",
    "kto": "Labelled answers (KTO)",
    "grpo": "Rewards (GRPO)",
    "training": "Training",
    "data": "Data",
    "hardware": "Machine",
    "run": "Run",
}

OF_ARCHITECTURES = {
    "doc_stride": ("encoder",),
    "max_answer_length": ("encoder",),
    "max_target_length": ("encoder-decoder",),
}
"""Setting -> the only architectures that it applies to."""


def build_widgets(leave_out: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A widget for every setting that is not left out, in titled groups, and the box around each group, by name."""
    listed = {name: info for name, info in fields().items() if name not in leave_out}
    made: dict[str, Any] = {}
    boxes: dict[str, Any] = {}
    for group, title in TITLES.items():
        members = {name: info for name, info in listed.items() if _group(info) == group}
        if members:
            with gr.Column(visible=is_applied(group)) as boxes[group]:
                gr.HTML(f'<div class="mf-group-title">{title}</div>')
                with gr.Row(elem_classes="mf-settings"):
                    made |= {name: _widget(name, info) for name, info in members.items()}
    return made, boxes


def is_applied(group: str, method: str = "sft", tuning: str = "lora", *, is_further: bool = False) -> bool:
    """Whether the settings of a group apply. is_further: to a model that is trained further, whose adapter is fixed."""
    if group == "tuning":
        return tuning != "full" and not is_further
    return group == method or group not in ("dpo", "kto", "grpo")


def read_defaults(task: str, method: str, tuning: str) -> dict[str, Any]:
    """Full name -> default of every setting; some depend on these three."""
    rewards = {"rewards": [{"type": "length"}]} if method == "grpo" else {}  # it needs one
    recipe = Recipe.build({"task": task, "method": method, "tuning": {"type": tuning}, "grpo": rewards})
    dumped = recipe.model_dump(mode="json")
    return {name: _reach(dumped, name) for name in fields()}


def _reach(values: Any, name: str) -> Any:
    for part in name.split("."):
        values = values[part]
    return values


def _group(info: FieldInfo) -> str:
    extra = info.json_schema_extra
    return str(extra["group"]) if isinstance(extra, dict) else ""


def _widget(name: str, info: FieldInfo) -> Any:
    kind: Any = info.annotation
    default = _reach(Recipe().model_dump(mode="json"), name)
    shared = {"label": name, "info": _sentence(info), "min_width": 220, "elem_id": f"set-{name.replace('.', '-')}"}
    shared["visible"] = "decoder" in OF_ARCHITECTURES.get(name, ("decoder",))
    if typing.get_origin(kind) is typing.Literal:
        return gr.Dropdown(list(typing.get_args(kind)), value=default, **shared)
    if kind is bool:
        return gr.Checkbox(default, **shared)
    if kind in (int, float):
        return gr.Number(default, precision=0 if kind is int else None, **shared)
    if isinstance(kind, types.GenericAlias) or kind is str:
        return gr.Textbox(default or "", **shared)
    raise TypeError(f"there is no widget for setting {name} of type {kind}")


def _sentence(info: FieldInfo) -> str:
    limits = describe_bounds(info) if bounds(info) else ""
    return f"{info.description} {limits[0].upper()}{limits[1:]}." if limits else str(info.description)
