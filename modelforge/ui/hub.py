"""Hub tab: repository, token, the exact files and the card before anything is sent, and the progress of a push."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import gradio as gr

from modelforge.errors import HubError, NotFoundError
from modelforge.forge import Forge
from modelforge.hardware import describe_bytes
from modelforge.models import hub
from modelforge.ui.look import html
from modelforge.ui.look.events import listen
from modelforge.ui.playground.tab import offer

__all__ = ["HubTab", "build", "offer"]


class HubTab:
    """Its components."""

    def __init__(self) -> None:
        gr.HTML(html.title("Hub", "Publish a model on the Hugging Face Hub. Nothing is sent before you press Push."))
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                self.model = gr.Dropdown([], label="Model", elem_id="hub-model")
                self.repo_id = gr.Textbox(
                    label="Repository", info="user/name, or just a name in your own account.", elem_id="hub-repo"
                )
                self.token = gr.Textbox(
                    label="Token",
                    info="With write permission, from huggingface.co/settings/tokens. It is not stored.",
                    type="password",
                    elem_id="hub-token",
                )
                self.private = gr.Checkbox(True, label="Private: only you can see it")
                self.push = gr.Button("Push", variant="primary", elem_id="hub-push")
                self.progress = gr.HTML(elem_id="hub-progress")
            with gr.Column(scale=2, min_width=320):
                gr.HTML("<h3>These files are sent</h3>")
                self.files = gr.HTML(elem_id="hub-files")
                with gr.Accordion("The model card", open=True):
                    self.card = gr.Code(
                        language="markdown",
                        label="Model card",
                        show_label=False,
                        interactive=False,
                        max_lines=24,
                        elem_id="hub-card",
                    )


def build(forge: Forge) -> HubTab:
    tab = HubTab()

    def push(model_id: str | None, repo_id: str, token: str, private: bool) -> Iterator[list[Any]]:
        """[token, progress] while it is pushed; the field of the token is emptied at once."""
        record = forge.models.find(model_id or "")
        if not token.strip():
            raise HubError(
                "The token is missing.",
                where="Token",
                fix="Create one with write permission at huggingface.co/settings/tokens.",
            )
        events: queue.Queue[hub.PushProgress | hub.PushResult | Exception] = queue.Queue()

        def work() -> None:
            try:
                pushed = forge.models.push(
                    record.id, repo_id, token=token.strip(), private=private, progress=events.put
                )
                events.put(pushed)
            except Exception as error:  # noqa: BLE001 - handed to the page, which raises it
                events.put(error)

        threading.Thread(target=work, name="modelforge-push", daemon=True).start()
        yield ["", html.bar(0, "Creating the repository")]
        while True:
            match events.get():
                case hub.PushProgress() as progress:
                    sent = f"{describe_bytes(progress.sent)} of {describe_bytes(progress.total_bytes)}"
                    yield [
                        "",
                        html.bar(
                            progress.sent / max(progress.total_bytes, 1), f"{progress.step}: {sent} {progress.file}"
                        ),
                    ]
                case hub.PushResult() as result:
                    yield ["", _describe_result(result)]
                    return
                case Exception() as error:
                    yield ["", html.note(str(error), "bad")]
                    raise error

    listen(tab.model.change, lambda model_id: describe_push(forge, model_id), tab.model, [tab.files, tab.card])
    listen(tab.push.click, push, [tab.model, tab.repo_id, tab.token, tab.private], [tab.token, tab.progress])
    return tab


def describe_push(forge: Forge, model_id: str | None) -> list[str]:
    """[files, card] that a push sends."""
    if not model_id:
        return [html.note("Choose a model first."), ""]
    try:
        card = forge.models.card(model_id)
    except NotFoundError as error:
        return [html.note(str(error), "bad"), ""]
    files = hub.files_to_push(forge.models.path(forge.models.find(model_id)), card)
    rows = [(file.name, describe_bytes(file.bytes)) for file in files]
    total = sum(file.bytes for file in files)
    return [html.table(("File", "Size"), [*rows, ("Total", describe_bytes(total))], empty=""), card]


def _describe_result(result: hub.PushResult) -> str:
    link = f'<a href="{html.text(result.url)}" target="_blank" rel="noopener">{html.text(result.url)}</a>'
    visibility = "private" if result.private else "public"
    note = html.note(result.note, "warning") if result.note else ""
    sentence = f"Pushed {len(result.files)} files to a {visibility} repository: {link}"
    return f'<div class="mf-note mf-good">{sentence}</div>{note}'
