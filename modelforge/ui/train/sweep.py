"""Several runs from one form: values for one or two settings, and a run for every combination of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from modelforge import warmup
from modelforge.errors import ModelForgeError
from modelforge.runs.sweep import MOST_SETTINGS, read_values, vary
from modelforge.ui.look import html
from modelforge.ui.look.events import listen, listen_all
from modelforge.ui.train.form import TrainForm

DEFAULT_SETTINGS = ("learning_rate", "")
"""What is selected at first; "" for none."""
_EXAMPLE = "Separated by commas, for example 1e-4, 3e-4, 1e-3."


class SweepPanel:
    """Its components."""

    def __init__(self, form: TrainForm) -> None:
        settings = [name for name, widget in form.settings.items() if not isinstance(widget, gr.Textbox)]
        names, values = [], []
        for index, first in enumerate(DEFAULT_SETTINGS):
            with gr.Row(elem_classes="mf-settings"):
                choices = [("(none)", ""), *((name, name) for name in settings)] if index else settings
                name = gr.Dropdown(choices, value=first, label="Setting", elem_id=f"sweep-setting-{index + 1}")
                names.append(name)
                values.append(gr.Textbox(label="Values", info=_EXAMPLE, elem_id=f"sweep-values-{index + 1}"))
        self.summary = gr.HTML("", elem_id="sweep-summary")
        self.go = gr.Button("Queue these runs", interactive=False, elem_id="sweep-go")
        self.inputs = [*names, *values]


def attach_sweep(form: TrainForm, panel: SweepPanel, refresh: Callable[..., Any], shown: list[Any]) -> None:
    """refresh, shown: how the page shows a run."""

    def describe(*given: Any) -> list[Any]:
        pairs, values = _read(given), given[len(panel.inputs) :]
        try:
            recipe = form.read_if_complete(*values) if pairs else None
            if recipe is None:
                return ["", gr.Button(interactive=False)]
            recipes = vary(recipe, read_values(pairs))
        except ModelForgeError as error:
            return [html.note(str(error), "bad"), gr.Button(interactive=False)]
        names = "; ".join(recipe.name for recipe in recipes[:4]) + (" …" if len(recipes) > 4 else "")
        return [html.aside(f"{len(recipes)} runs, one after another: {names}"), gr.Button(interactive=True)]

    def queue(*given: Any) -> Any:
        warmup.wait()
        recipe = form.read(*given[len(panel.inputs) :])
        runs = form.forge.runs.start_sweep(recipe, read_values(_read(given)))
        gr.Info(f"{len(runs)} runs are queued. If one fails, the others still run.")
        return refresh(runs[0].id, None)

    everything = [*panel.inputs, *form.inputs]
    listen_all([each.change for each in panel.inputs], describe, everything, [panel.summary, panel.go])
    listen(panel.go.click, queue, everything, shown)


def _read(given: Any) -> list[tuple[str, str]]:
    """(setting, values as typed) where both are filled in."""
    pairs = zip(given[:MOST_SETTINGS], given[MOST_SETTINGS : 2 * MOST_SETTINGS], strict=True)
    return [(name, listed) for name, listed in pairs if name and listed and listed.strip()]
