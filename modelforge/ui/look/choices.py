"""What several tabs choose and delete with: a list with one entry selected, and a deletion that asks first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from modelforge.ui.look.events import listen

Choices = Sequence[tuple[str, str]]
"""(label, value) of each."""


def pick(choices: Choices, chosen: str | None) -> str | None:
    """The chosen value if it is there, or else the first one."""
    values = [value for _, value in choices]
    return chosen if chosen in values else next(iter(values), None)


def select(choices: Choices, chosen: str | None, **options: Any) -> Any:
    """An update of a dropdown, with `chosen` or else the first choice selected."""
    return gr.Dropdown(choices=list(choices), value=pick(choices, chosen), **options)


class DeleteButtons:
    """A button to delete something, and those that ask for a confirmation: `buttons` are all three."""

    def __init__(self, elem_id: str, label: str = "Delete…") -> None:
        self.delete = gr.Button(label, scale=0, min_width=max(170, 11 * len(label)), elem_id=elem_id)
        really = elem_id and f"{elem_id}-really"
        self.confirm = gr.Button(
            "Yes, delete it", variant="stop", visible=False, scale=0, min_width=140, elem_id=really
        )
        self.keep = gr.Button("Cancel", visible=False, scale=0, min_width=120)
        self.buttons = [self.delete, self.confirm, self.keep]

    def attach(self, handler: Callable[..., Any], inputs: Any, outputs: Any) -> None:
        """Call `handler` once the deletion is confirmed."""
        listen(self.delete.click, lambda: self.ask(True), None, self.buttons)
        listen(self.keep.click, self.ask, None, self.buttons)
        deleted = listen(self.confirm.click, handler, inputs, outputs)
        listen(deleted.success, self.ask, None, self.buttons)

    def ask(self, asking: bool = False) -> list[Any]:
        """Values of `buttons`: ask for the confirmation, or not (any more)."""
        return [gr.Button(visible=not asking), gr.Button(visible=asking), gr.Button(visible=asking)]
