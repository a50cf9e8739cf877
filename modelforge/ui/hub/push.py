"""Publishing: what is sent and the card before anything is, the question, and the progress of the push."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr

from modelforge.caller import current_caller
from modelforge.errors import ModelForgeError, NotFoundError, RunStateError
from modelforge.exports.pushes import find_source, list_sources
from modelforge.forge import Forge
from modelforge.hardware import describe_bytes
from modelforge.models import hub
from modelforge.models.hub_files import PushFile, list_files, make_card, sum_up
from modelforge.ui.hub.transfer import TransferPanel
from modelforge.ui.look import html
from modelforge.ui.look.events import listen

SIGN_IN_HELP = (
    "With write permission, from huggingface.co/settings/tokens. Kept in memory until the push is done, never written. "
    "Empty: your sign-in with the Hub is used."
)
_LISTED = 8  # names of files in a sentence


class PushPanel:
    """Its components. asked: what the question is about, None while there is none."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                self.model = gr.Dropdown([], label="Model", elem_id="hub-model")
                self.form = gr.Radio([], label="Form", elem_id="hub-form")
                self.repo_id = gr.Textbox(
                    label="Repository", info="user/name, or just a name in your own account.", elem_id="hub-repo"
                )
                self.token = gr.Textbox(label="Token", info=SIGN_IN_HELP, type="password", elem_id="hub-token")
                self.private = gr.Checkbox(True, label="Private: only you can see it", elem_id="hub-private")
                self.push = gr.Button("Push…", variant="primary", elem_id="hub-push")
                self.question = gr.HTML("", elem_id="hub-question")
                with gr.Row(elem_classes="mf-actions"):
                    hidden: dict[str, Any] = {"visible": False, "min_width": 120}
                    self.yes = gr.Button("Yes, push", variant="primary", elem_id="hub-yes", **hidden)
                    self.request = gr.Button("As a pull request", elem_id="hub-request", **hidden)
                    self.no = gr.Button("No", elem_id="hub-no", **hidden)
                self.asked = gr.State(None)
                self.transfer = TransferPanel(forge, "push", show_push)
            with gr.Column(scale=2, min_width=320):
                gr.HTML("<h3>These files are sent, and no others</h3>")
                self.files = gr.HTML(elem_id="hub-files")
                with gr.Accordion("The model card", open=True):
                    self.card = gr.Code(
                        language="markdown", label="Model card", show_label=False, interactive=False, max_lines=24,
                        elem_id="hub-card",
                    )  # fmt: skip
        self._buttons = [self.yes, self.request, self.no]
        self._attach()

    def _attach(self) -> None:
        forge, shown = self._forge, [self.files, self.card]
        fields = [self.model, self.form, self.repo_id, self.token, self.private]
        listen(self.model.change, partial(offer_forms, forge), [self.model, self.form], [self.form, *shown])
        listen(self.form.change, partial(describe_push, forge), [self.model, self.form], shown)
        listen(self.push.click, self.ask, fields, [self.question, self.asked, *self._buttons, *shown])
        answers = [self.question, self.asked, *self._buttons]
        started = [self.token, *answers, *self.transfer.shown]
        listen(self.yes.click, partial(self.start, "commit"), [self.asked, self.token], started)
        listen(self.request.click, partial(self.start, "pull request"), [self.asked, self.token], started)
        listen(self.no.click, lambda: ["", None, *_hide()], None, answers)

    def ask(
        self, model_id: str | None, form: str | None, repo_id: str, token: str, private: bool
    ) -> Iterator[list[Any]]:
        """What would happen, before anything does."""
        record = self._forge.models.find(model_id or "")
        source = find_source(self._forge.models, self._forge.exports, record, form or "")
        repo_id = hub.check_repo_id(repo_id)
        yield [html.note("Looking at the repository …"), None, *_hide(), gr.skip(), gr.skip()]
        try:
            repository = hub.find_repository(repo_id, token=choose_token(token))
            card = make_card(source, repository.id)
            files = list_files(source, card)
        except ModelForgeError as error:
            yield [html.note(str(error), "bad"), None, *_hide(), gr.skip(), gr.skip()]
            raise
        asked = {"model": record.id, "form": form, "repo_id": repository.id, "private": bool(private)}
        asked |= {"seen": sum_up(files), "exists": repository.exists}
        buttons = [
            gr.Button("Yes, add a commit" if repository.exists else "Yes, push", visible=True),
            gr.Button(visible=repository.exists),
            gr.Button(visible=True),
        ]
        yield [describe_question(repository, files, bool(private)), asked, *buttons, list_as_table(files), card]

    def start(self, existing: hub.Existing, asked: dict[str, Any] | None, token: str) -> list[Any]:
        """The push that was agreed to. The field of the token is emptied at once."""
        if not isinstance(asked, dict):
            raise RunStateError("Nothing was chosen to be pushed.", fix="Press Push first.")
        forge, chosen = self._forge, choose_token(token)
        record = forge.models.find(asked["model"])
        source = find_source(forge.models, forge.exports, record, asked["form"] or "")
        options: dict[str, Any] = {"private": asked["private"], "seen": asked["seen"], "token": chosen}
        options["existing"] = existing if asked["exists"] else "refuse"
        forge.transfers.start(
            "push",
            f"{record.name} to {asked['repo_id']}",
            lambda note: forge.models.push(record.id, asked["repo_id"], source=source, progress=note, **options),
        )
        return ["", "", None, *_hide(), *self.transfer.show()]


def choose_token(typed: str) -> str | None:
    """The token that is typed, or of the sign-in with the Hub; None is the login of this machine, for its owner."""
    caller = current_caller()
    return typed.strip() or caller.token or (None if caller.is_owner and caller.is_local else "")


def offer_forms(forge: Forge, model_id: str | None, form: str | None) -> list[Any]:
    """[forms, files, card] of a model."""
    try:
        record = forge.models.find(model_id) if model_id else None
        sources = list_sources(forge.models, forge.exports, record) if record else {}
    except NotFoundError:
        sources = {}
    chosen = form if form in sources else next(iter(sources), None)
    choices = [(label, key) for key, (label, _) in sources.items()]
    info = "" if len(choices) > 1 else "More forms: export the model on the Models tab first."
    return [gr.Radio(choices=choices, value=chosen, info=info), *describe_push(forge, model_id, chosen)]


def describe_push(forge: Forge, model_id: str | None, form: str | None = None) -> list[str]:
    """[files, card] that a push sends."""
    if not model_id:
        return [html.note("Choose a model first."), ""]
    try:
        source = find_source(forge.models, forge.exports, forge.models.find(model_id), form or "")
        card = make_card(source)
        return [list_as_table(list_files(source, card)), card]
    except ModelForgeError as error:
        return [html.note(str(error), "bad"), ""]


def list_as_table(files: tuple[PushFile, ...]) -> str:
    sizes = {file.name: file.bytes for file in files}
    sizes["Total"] = sum(sizes.values())
    return html.pairs((name, describe_bytes(size)) for name, size in sizes.items())


def describe_question(repository: hub.Repository, files: tuple[PushFile, ...], private: bool) -> str:
    """What a yes does, in a sentence or two."""
    what = f"{len(files)} files ({describe_bytes(sum(file.bytes for file in files))})"
    if not repository.exists:
        kind = "private" if private else "public"
        return html.note(
            f"Push {what} to the new {kind} repository {repository.id}?", "quiet" if private else "warning"
        )
    names = [file.name for file in files if file.name in repository.files]
    left = len(set(repository.files) - set(names))
    sentences = [
        f"{repository.id} exists already and is {'private' if repository.private else 'public'}. Push {what} to it?",
        f"Replaced: {', '.join(names[:_LISTED])}{' …' if len(names) > _LISTED else ''}." if names else "",
        f"{left} other file{' of it stays as it is' if left == 1 else 's of it stay as they are'}.",
    ]
    return html.note(" ".join(filter(None, sentences)), "warning")


def show_push(push: hub.PushProgress | hub.PushResult) -> str:
    """How far a push is, or its result."""
    if isinstance(push, hub.PushProgress):
        if push.step != "uploading":
            return html.bar(
                push.sent / max(push.total_bytes, 1), {"creating": "Preparing"}.get(push.step, "Committing")
            )
        sent = f"{describe_bytes(push.sent)} of {describe_bytes(push.total_bytes)}"
        return html.bar(push.sent / max(push.total_bytes, 1), f"Uploading: {sent} {push.file}")
    link = f'<a href="{html.text(push.url)}" target="_blank" rel="noopener">{html.text(push.url)}</a>'
    visibility = "private" if push.private else "public"
    note = html.note(push.note, "warning") if push.note else ""
    sentence = f"Pushed {len(push.files)} files to a {visibility} repository: {link}"
    undo = html.aside(push.undo) if push.undo else ""
    return f'<div class="mf-note mf-good">{sentence}</div>{note}{undo}'


def _hide() -> list[Any]:
    return [gr.Button(visible=False)] * 3
