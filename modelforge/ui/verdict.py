"""The planner's verdict beneath the form: whether a run fits this machine, what it takes, and what would make it fit.

What is reckoned is the planner's affair; here it is asked, remembered for a while, and shown.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from modelforge.errors import ModelForgeError, RecipeError
from modelforge.forge import Forge
from modelforge.recipe import Recipe
from modelforge.ui import html
from modelforge.ui.events import listen, listen_all
from modelforge.ui.train_form import TrainForm

MOST_ADVICE = 3
REMEMBERED_SECONDS = 20.0  # free memory and disk change
"""How long a verdict on one recipe holds."""

_KINDS = {"fits": "good", "tight": "warning", "won't fit": "bad", "unknown": "quiet"}


@dataclass(frozen=True)
class Judgement:
    """A verdict in words. advice: (what a button says, the settings it puts in)."""

    verdict: str
    sentence: str
    numbers: tuple[tuple[str, str], ...] = ()
    advice: tuple[tuple[str, dict[str, Any]], ...] = field(default=())


class VerdictPanel:
    """Its components; `offered` holds the settings that each button puts in."""

    def __init__(self) -> None:
        self.shown = gr.HTML("", elem_id="train-verdict")
        self.offered = gr.State([])
        with gr.Row(elem_classes="mf-actions mf-advice"):
            self.buttons = [
                gr.Button("", size="sm", visible=False, min_width=140, elem_id=f"train-advice-{index + 1}")
                for index in range(MOST_ADVICE)
            ]

    @property
    def outputs(self) -> list[Any]:
        return [self.shown, self.offered, *self.buttons]


def attach_verdict(forge: Forge, form: TrainForm, panel: VerdictPanel) -> None:
    """Judge whenever the form has changed, and let advice be taken with one press."""

    def show(*values: Any) -> list[Any]:
        if not form.is_open(*values):
            return _show(None)
        try:
            return _show(judge(form.read(forge, *values)))
        except ModelForgeError:
            return _show(None)  # what is wrong is said where it is wrong

    def take(index: int, offered: list[dict[str, Any]], advised: dict[str, Any]) -> list[Any]:
        """Put the settings of an advice into the form, and remember that they were put there."""
        settings = offered[index] if index < len(offered) else {}
        values = [gr.update(value=settings[name]) if name in settings else gr.skip() for name in form.named]
        return [{**advised, **settings}, *values]

    watched = [widget for name, widget in form.named.items() if name != "name"] + form.rewards.inputs
    listen_all([each.change for each in watched], show, form.inputs, panel.outputs)
    for index, button in enumerate(panel.buttons):
        listen(
            button.click,
            lambda offered, advised, index=index: take(index, offered, advised),
            [panel.offered, form.advised],
            [form.advised, *form.named.values()],
        )


def _show(judged: Judgement | None) -> list[Any]:
    """Values of `VerdictPanel.outputs`."""
    if judged is None or not judged.sentence:
        return ["", [], *(gr.Button(visible=False) for _ in range(MOST_ADVICE))]
    advice = judged.advice[:MOST_ADVICE]
    buttons = [gr.Button(title, visible=True) for title, _ in advice]
    hidden = [gr.Button(visible=False) for _ in range(MOST_ADVICE - len(advice))]
    numbers = html.tiles(judged.numbers) if judged.numbers else ""
    shown = html.note(judged.sentence, _KINDS[judged.verdict]) + numbers
    return [shown, [settings for _, settings in advice], *buttons, *hidden]


def refuse_what_does_not_fit(forge: Forge, recipe: Recipe) -> None:
    """Raises RecipeError where the planner says that a run cannot fit."""
    judged = judge(recipe)
    if judged.verdict == "won't fit":
        fix = " or ".join(title[:1].lower() + title[1:] for title, _ in judged.advice[:MOST_ADVICE])
        raise RecipeError(judged.sentence, where="this machine", fix=f"Try: {fix}." if fix else "")


def find_remedy(forge: Forge, recipe: Recipe) -> tuple[str, Recipe] | None:
    """(what is changed, the recipe) that needs less memory than one that ran out of it; None where nothing is left.

    The planner's first advice that changes settings, else the usual way down: smaller batches with as many examples a
    step, then computing values twice, then shorter examples.
    """
    for title, settings in judge(recipe).advice:
        if "base_model" not in settings:
            return title, recipe.with_settings(settings)
    batch, steps = recipe.per_device_train_batch_size, recipe.gradient_accumulation_steps
    if batch > 1:
        halved = {
            "per_device_train_batch_size": batch // 2,
            "gradient_accumulation_steps": steps * -(-batch // (batch // 2)),
        }
        return f"batches of {batch // 2}, added up before each step.", recipe.with_settings(halved)
    if recipe.gradient_checkpointing != "on":
        return "gradient checkpointing is on.", recipe.with_settings({"gradient_checkpointing": "on"})
    if recipe.max_length > 128:
        return f"max_length is {recipe.max_length // 2}.", recipe.with_settings({"max_length": recipe.max_length // 2})
    return None


_judged: dict[str, tuple[float, Judgement]] = {}
_lock = threading.Lock()  # one reckoning at a time: many pages may ask for the same


def judge(recipe: Recipe) -> Judgement:
    """The planner's verdict, remembered for a while."""
    key = recipe.model_copy(update={"name": ""}).to_yaml()
    with _lock:
        asked, found = _judged.get(key, (0.0, None))
        if found is None or time.monotonic() - asked > REMEMBERED_SECONDS:
            found = _ask_planner(recipe)
            if len(_judged) > 100:
                _judged.clear()
            _judged[key] = (time.monotonic(), found)
        return found


def _ask_planner(recipe: Recipe) -> Judgement:
    return Judgement("unknown", "")
