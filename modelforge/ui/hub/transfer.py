"""A push or a download on the page: its progress, Cancel and Resume. It shows what the process does: after a reload it
is there again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from modelforge.forge import Forge
from modelforge.models.transfers import Kind
from modelforge.ui.look import html
from modelforge.ui.look.events import listen

LOOKS_EVERY = 1.0  # seconds, while one is in progress


class TransferPanel:
    """`shown` are its components; `ended` changes when one has ended, for what follows from it. draw: progress or
    result -> HTML."""

    def __init__(self, forge: Forge, kind: Kind, draw: Callable[[Any], str]) -> None:
        self._forge, self._kind, self._draw = forge, kind, draw
        self.progress = gr.HTML("", elem_id=f"hub-{kind}-progress")
        with gr.Row(elem_classes="mf-actions"):
            hidden: dict[str, Any] = {"visible": False, "min_width": 110}
            self.cancel = gr.Button("Cancel", elem_id=f"hub-{kind}-cancel", **hidden)
            self.resume = gr.Button("Resume", variant="primary", elem_id=f"hub-{kind}-resume", **hidden)
        self.ended = gr.Textbox("", visible="hidden")
        self.timer = gr.Timer(LOOKS_EVERY, active=False)
        self.shown = [self.progress, self.cancel, self.resume, self.ended, self.timer]
        listen(self.timer.tick, self.show, None, self.shown, trigger_mode="once")
        listen(self.cancel.click, self._cancel, None, self.shown)
        listen(self.resume.click, self._resume, None, self.shown)

    def show(self) -> list[Any]:
        """Values of `shown`, as this person's last one is now."""
        transfer = self._forge.transfers.find(self._kind)
        if transfer is None:
            return ["", gr.Button(visible=False), gr.Button(visible=False), "", gr.Timer(active=False)]
        state = transfer.state
        is_running = state == "running"
        if state == "finished":
            drawn = self._draw(transfer.result)
        elif is_running:
            drawn = self._draw(transfer.progress) if transfer.progress is not None else html.bar(0, "Starting")
        elif state == "cancelled":
            drawn = html.note(f"Cancelled: {transfer.title}. What has arrived is kept; Resume continues.")
        else:
            drawn = html.note(f"{transfer.title}: {transfer.error}", "bad")
        ended = "" if is_running else f"{id(transfer)} {state}"
        can_resume = transfer.work is not None
        buttons = [gr.Button(visible=is_running), gr.Button(visible=can_resume)]
        return [drawn, *buttons, ended, gr.Timer(active=is_running)]

    def _cancel(self) -> list[Any]:
        self._forge.transfers.cancel(self._kind)
        return self.show()

    def _resume(self) -> list[Any]:
        self._forge.transfers.resume(self._kind)
        return self.show()
