"""Puts the Hub tab together."""

from __future__ import annotations

from typing import Any

import gradio as gr

from modelforge.forge import Forge
from modelforge.ui.hub.pull import PullPanel
from modelforge.ui.hub.push import PushPanel
from modelforge.ui.look import html
from modelforge.ui.models.tab import offer_models


class HubTab:
    """`model` is the model to push, `shown` what `refresh` fills in."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        gr.HTML(html.title("Hub", "Publish a model on the Hugging Face Hub. Nothing is sent before you say yes to it."))
        self.push = PushPanel(forge)
        gr.HTML(html.title("From the Hub", "Safetensors and texts only; no code is downloaded or run."))
        self.pull = PullPanel(forge)
        self.model = self.push.model
        self.shown = [self.model, *self.push.transfer.shown, *self.pull.transfer.shown]

    def refresh(self, chosen: str | None) -> list[Any]:
        """Values of `shown` when the tab is opened."""
        return [offer_models(self._forge, chosen), *self.push.transfer.show(), *self.pull.transfer.show()]
