"""The switch on the Models tab that puts the chosen model behind OpenAI's API, for the owner of the app."""

from __future__ import annotations

from typing import Any

import gradio as gr

from modelforge.caller import current_caller
from modelforge.errors import RecipeError
from modelforge.forge import Forge
from modelforge.serve.server import DEFAULT_PORT, Server
from modelforge.serve.snippets import KEY
from modelforge.ui.look import html
from modelforge.ui.look.events import listen

ABOUT = (
    "Programs that can talk to OpenAI can talk to your model: it listens on this machine alone, and answers those "
    "who have the key. The base model has another name, so that you can compare."
)


class ServingPanel:
    """Its components. `shown` depend on what is served now."""

    def __init__(self) -> None:
        with gr.Accordion("Use it from other programs", open=False, elem_id="models-serve") as self.box:
            gr.HTML(html.aside(ABOUT))
            with gr.Row(elem_classes="mf-actions"):
                self.port = gr.Number(
                    DEFAULT_PORT, label="Port", info="0 takes any free one.", precision=0, minimum=0, maximum=65535,
                    min_width=160, scale=0, elem_id="serve-port",
                )  # fmt: skip
                self.start = gr.Button(
                    "Serve this model", variant="primary", scale=0, min_width=170, elem_id="serve-start"
                )
                self.stop = gr.Button(
                    "Stop serving", variant="stop", visible=False, scale=0, min_width=150, elem_id="serve-stop"
                )
            self.state = gr.HTML("", elem_id="serve-state")
            self.snippet = gr.Radio([], label="Call it from", visible=False, elem_id="serve-snippet")
            self.code = gr.Code(
                "", label="Ready to copy, but for the key", visible=False, interactive=False, lines=3,
                elem_id="serve-code",
            )  # fmt: skip
        self.shown = [self.box, self.start, self.stop, self.state, self.snippet, self.code]

    def attach(self, forge: Forge, chosen: Any) -> None:
        def start(model_id: str | None, port: int | None) -> list[Any]:
            if port is None:
                raise RecipeError("There is no port.", where="port", fix="Enter one, or 0 for any free one.")
            server, key = forge.serving.start(model_id or "", port=int(port))
            return describe_serving(server, key)

        def stop() -> list[Any]:
            forge.serving.stop()
            return describe_serving(None)

        def choose(title: str | None) -> Any:
            server = forge.serving.current if current_caller().is_owner else None
            return (server.snippets if server else {}).get(title or "", "")

        listen(self.start.click, start, [chosen, self.port], self.shown)
        listen(self.stop.click, stop, None, self.shown)
        listen(self.snippet.change, choose, self.snippet, self.code)


def show_serving(forge: Forge) -> list[Any]:
    """Values of `ServingPanel.shown`: nothing for anybody but the owner."""
    if not current_caller().is_owner:
        return [gr.Accordion(visible=False), *[gr.skip()] * 5]
    return describe_serving(forge.serving.current)


def describe_serving(server: Server | None, key: str = "") -> list[Any]:
    """key: to be shown once."""
    if server is None:
        hidden = [gr.Radio(visible=False), gr.Code(visible=False)]
        return [gr.skip(), gr.Button(visible=True), gr.Button(visible=False), "", *hidden]
    names = f"{server.record.name}, {server.record.name}-base"
    facts = [("Address", server.address), ("Model names", names)]
    facts += [("Key", key)] if key else []
    note = (
        "Copy the key now: it is shown only once."
        if key
        else f"The key is the one in {KEY}, or the one that was shown when serving began."
    )
    snippets = server.snippets
    first = next(iter(snippets))
    return [
        gr.skip(),
        gr.Button(visible=False),
        gr.Button(visible=True),
        html.pairs(facts) + html.note(note, "warning" if key else "quiet"),
        gr.Radio(choices=list(snippets), value=first, visible=True),
        gr.Code(snippets[first], visible=True),
    ]
