"""Hub tab: repository, token, the exact files and the card before anything is sent, and the progress of a push."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gradio as gr

from modelforge.caller import current_caller
from modelforge.errors import HubError, NotFoundError
from modelforge.forge import Forge
from modelforge.hardware import describe_bytes
from modelforge.models import hub
from modelforge.ui.look import html
from modelforge.ui.look.background import follow
from modelforge.ui.look.events import listen

SIGN_IN_HELP = (
    "With write permission, from huggingface.co/settings/tokens. It is not stored. Empty where you are signed in with "
    "the Hub: your own sign-in is used."
)


class HubTab:
    """Its components."""

    def __init__(self, forge: Forge) -> None:
        gr.HTML(html.title("Hub", "Publish a model on the Hugging Face Hub. Nothing is sent before you press Push."))
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                self.model = gr.Dropdown([], label="Model", elem_id="hub-model")
                self.repo_id = gr.Textbox(
                    label="Repository", info="user/name, or just a name in your own account.", elem_id="hub-repo"
                )
                self.token = gr.Textbox(
                    label="Token",
                    info=SIGN_IN_HELP,
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

        def push(model_id: str | None, repo_id: str, token: str, private: bool) -> Iterator[list[str]]:
            """[token, progress] while it is pushed; the field of the token is emptied at once."""
            record = forge.models.find(model_id or "")
            chosen = token.strip() or current_caller().token  # of the sign-in with the Hub, on a Space
            if not chosen:
                raise HubError(
                    "The token is missing.",
                    where="Token",
                    fix="Create one with write permission at huggingface.co/settings/tokens.",
                )

            def send(note: Callable[[hub.PushProgress], None]) -> hub.PushResult:
                return forge.models.push(record.id, repo_id, token=chosen, private=private, progress=note)

            for shown in follow(send, html.bar(0, "Creating the repository"), _show_push):
                yield ["", shown]

        listen(self.model.change, lambda model_id: describe_push(forge, model_id), self.model, [self.files, self.card])
        listen(self.push.click, push, [self.model, self.repo_id, self.token, self.private], [self.token, self.progress])


def describe_push(forge: Forge, model_id: str | None) -> list[str]:
    """[files, card] that a push sends."""
    if not model_id:
        return [html.note("Choose a model first."), ""]
    try:
        card = forge.models.card(model_id)
    except NotFoundError as error:
        return [html.note(str(error), "bad"), ""]
    files = hub.files_to_push(forge.models.path(forge.models.find(model_id)), card)
    sizes = {file.name: file.bytes for file in files}
    sizes["Total"] = sum(sizes.values())
    return [html.table({"File": name, "Size": describe_bytes(size)} for name, size in sizes.items()), card]


def _show_push(push: hub.PushProgress | hub.PushResult) -> str:
    """How far a push is, or its result."""
    if isinstance(push, hub.PushProgress):
        sent = f"{describe_bytes(push.sent)} of {describe_bytes(push.total_bytes)}"
        return html.bar(push.sent / max(push.total_bytes, 1), f"{push.step}: {sent} {push.file}")
    link = f'<a href="{html.text(push.url)}" target="_blank" rel="noopener">{html.text(push.url)}</a>'
    visibility = "private" if push.private else "public"
    note = html.note(push.note, "warning") if push.note else ""
    sentence = f"Pushed {len(push.files)} files to a {visibility} repository: {link}"
    return f'<div class="mf-note mf-good">{sentence}</div>{note}'
