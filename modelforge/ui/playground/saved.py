"""Saved conversations: found by their text, opened, renamed, deleted, downloaded."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from modelforge.forge import Forge
from modelforge.models.conversations import LONGEST_NAME, MOST_KEPT, Conversation
from modelforge.store.files import save_file
from modelforge.ui.look import html
from modelforge.ui.look.choices import DeleteButtons
from modelforge.ui.look.events import listen, listen_all
from modelforge.ui.look.files import make_file
from modelforge.ui.playground.conversation import BASE, TUNED, ConversationPanel


class SavedPanel:
    """Its components; only for people who have conversations that are saved."""

    def __init__(self) -> None:
        with gr.Accordion("Saved conversations", open=False, visible=False, elem_id="saved") as self.box:
            gr.HTML(html.aside(f"Every conversation is saved; the {MOST_KEPT} that changed last are kept."))
            self.search = gr.Textbox(
                label="Find", placeholder="A word of the conversation", max_length=200, elem_id="saved-search"
            )
            self.chosen = gr.Dropdown(
                [],
                label="Conversation",
                value=None,
                allow_custom_value=True,  # the list changes while a value is under way
                elem_id="saved-chosen",
            )
            self.name = gr.Textbox(label="Name", max_length=LONGEST_NAME, elem_id="saved-name")
            with gr.Row(elem_classes="mf-actions"):
                self.open = gr.Button("Open", variant="primary", min_width=90, elem_id="saved-open")
                self.rename = gr.Button("Rename", min_width=90, elem_id="saved-rename")
            with gr.Row(elem_classes="mf-actions"):
                self.as_jsonl = gr.Button("JSONL", min_width=90, elem_id="saved-jsonl")
                self.as_markdown = gr.Button("Markdown", min_width=90, elem_id="saved-markdown")
                self.file = gr.DownloadButton("conversation", visible="hidden", elem_id="saved-file")
            with gr.Row(elem_classes="mf-actions"):
                self.deletion = DeleteButtons("saved-delete")
        self.shown = [self.chosen, self.name]


def attach_saved(
    forge: Forge, panel: SavedPanel, chat: ConversationPanel, replied: list[Any], asked_of: list[Any]
) -> None:
    """replied: the events of an answer that has ended. asked_of: system prompt, model and who answers."""

    def find(text: str | None, chosen: str | None = None) -> dict[Any, Any]:
        return list_saved(forge, panel, text or "", chosen)

    def describe(chosen: str | None) -> str:
        return forge.conversations.get(chosen).name if chosen else ""

    def open_saved(chosen: str | None) -> dict[Any, Any]:
        talk = forge.conversations.get(chosen or "")
        values = (talk.system, talk.model or gr.skip(), BASE if talk.base else TUNED)
        return {**chat.show(talk), **dict(zip(asked_of, values, strict=True))}

    def rename(chosen: str | None, name: str, text: str) -> dict[Any, Any]:
        return find(text, forge.conversations.rename(chosen or "", name).id)

    def delete(chosen: str | None, text: str) -> dict[Any, Any]:
        forge.conversations.delete(chosen or "")
        return find(text)

    def write(chosen: str | None, *, ending: str) -> Any:
        talk = forge.conversations.get(chosen or "")
        path = make_file(f"{talk.id}.{ending}")
        save_file(path, (talk.as_jsonl() if ending == "jsonl" else talk.as_markdown()).encode())
        return gr.DownloadButton(value=str(path))

    listen_all([panel.search.change], find, [panel.search, panel.chosen], panel.shown)
    for each in replied:
        listen(each.then, show_current(find), [panel.search, chat.state], panel.shown)
    listen(panel.chosen.select, describe, panel.chosen, panel.name)
    listen(panel.open.click, open_saved, panel.chosen, [*chat.shown, *asked_of])
    listen(panel.rename.click, rename, [panel.chosen, panel.name, panel.search], panel.shown)
    panel.deletion.attach(delete, [panel.chosen, panel.search], panel.shown)
    for button, ending in ((panel.as_jsonl, "jsonl"), (panel.as_markdown, "md")):
        written = listen(button.click, partial(write, ending=ending), panel.chosen, panel.file)
        written.success(None, js="() => document.querySelector('#saved-file').click()")


def show_current(find: Any) -> Any:
    """The list with the conversation of the page selected."""
    return lambda text, talk: find(text, talk.id if isinstance(talk, Conversation) else None)


def list_saved(forge: Forge, panel: SavedPanel, text: str = "", chosen: str | None = None) -> dict[Any, Any]:
    """Values of `SavedPanel.shown`: conversations with that text in them."""
    found = forge.conversations.find(text)
    choices = [(f"{each.label} · {html.date(each.updated)}", each.id) for each in found]
    known = {each.id: each for each in found}
    picked = chosen if chosen in known else next(iter(known), None)
    info = f"{len(found)} found." if text.strip() else f"{len(found)} saved."
    return {
        panel.chosen: gr.Dropdown(choices=choices, value=picked, info=info),
        panel.name: known[picked].name if picked else "",
    }
