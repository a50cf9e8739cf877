"""The conversation: questions and answers, an answer once more, an edited question, and the branches that these make.

Gradio treats a message as HTML, with or without Markdown, and fetches the pictures in it from anywhere. So messages are
escaped in the conversation that is shown. What a model reads comes from the conversation itself, never from the page.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from functools import partial
from html import unescape
from typing import Any

import gradio as gr

from modelforge import warmup
from modelforge.caller import acting_as, current_caller
from modelforge.errors import DiskFullError, ModelForgeError, NotFoundError, RecipeError, RunStateError, StoreError
from modelforge.forge import Forge
from modelforge.models.conversations import ROOT, Conversation, shorten
from modelforge.models.sampling import Sampling, Writing
from modelforge.ui.look import html
from modelforge.ui.look.events import listen_in_chat
from modelforge.ui.playground.choices import Speaker, find_speaker
from modelforge.ui.playground.settings import read_sampling

TUNED, BASE = "Fine-tuned", "Base"
UPDATE_SECONDS = 0.08  # between two pictures of a growing answer: each costs the page, and the machine, some time
FEWEST_TIMED = 2  # tokens, of which a speed can be told
EMPTY = "(The answer is empty.)"


class ConversationPanel:
    """Its components. `state` is the conversation, `running` stops the answer that is being written."""

    def __init__(self) -> None:
        self.state = gr.State(Conversation())
        self.running = gr.State(None)
        with gr.Column() as self.box:
            self.chat = gr.Chatbot(
                label="Conversation",
                show_label=False,
                height=460,
                placeholder="Ask something that your examples cover.",
                buttons=[],  # what it would copy is escaped
                render_markdown=False,  # word for word
                group_consecutive_messages=False,
                editable="user",
                elem_id="chat",
            )
            self.branches = gr.Dropdown(
                [],
                label="Branch",
                info="Every answer and every edited question is kept.",
                visible=False,
                allow_custom_value=True,  # the list changes while a value is under way
                elem_id="chat-branches",
            )
            self.problem = gr.HTML("", elem_id="chat-problem")
            self.question = gr.Textbox(
                label="Question",
                placeholder="Your question; Enter sends it",
                show_label=False,
                max_lines=6,
                elem_id="chat-question",
            )
            with gr.Row(elem_classes="mf-actions"):
                self.send = gr.Button("Send", variant="primary", elem_id="chat-send")
                self.stop = gr.Button("Stop", variant="stop", elem_id="chat-stop")
                self.again = gr.Button("Regenerate", elem_id="chat-again")
                self.clear = gr.Button("New conversation", elem_id="chat-clear")
        self.shown = [self.state, self.chat, self.branches, self.problem]

    def show(self, conversation: Conversation, problem: str = "") -> dict[Any, Any]:
        """Values of `shown`."""
        ends = conversation.ends
        choices = [(describe_branch(conversation, number, end), end) for number, end in enumerate(ends, 1)]
        return {
            self.state: conversation,
            self.chat: list_messages(conversation),
            self.branches: gr.Dropdown(choices=choices, value=conversation.at, visible=len(ends) > 1),
            self.problem: html.note(problem, "warning") if problem else "",
        }


def attach_conversation(
    forge: Forge, panel: ConversationPanel, chosen: list[Any], system: Any, drawn: list[Any]
) -> list[Any]:
    """chosen: model and who answers. Returns the events of an answer that has ended."""

    def name_speaker(talk: Conversation, system: str | None, model: str | None, which: str) -> Conversation:
        """The conversation, with who answers next. Raises NotFoundError where no model is chosen."""
        speaker = find_speaker(forge, model, base=which == BASE)
        return talk.model_copy(update={"system": system or "", "model": model or "", "base": speaker.base})

    def ask(question: str | None, talk: Conversation, running: Any, *asked_of: Any) -> dict[Any, Any]:
        """Add the question to the conversation and empty the box."""
        refuse_busy(running)
        return {**panel.show(name_speaker(talk, *asked_of).ask(question or "")), panel.question: ""}

    def ask_again(talk: Conversation, running: Any, *asked_of: Any) -> dict[Any, Any]:
        refuse_busy(running)
        return panel.show(name_speaker(talk, *asked_of).rewind())

    def edit(talk: Conversation, running: Any, changed: gr.EditData) -> dict[Any, Any]:
        refuse_busy(running)
        place = changed.index[0] if isinstance(changed.index, tuple | list) else changed.index
        return panel.show(talk.edit(place, unescape(plain_text(changed.value))))

    def reply(talk: Conversation, model: str | None, which: str, *drawn: Any) -> Iterator[dict[Any, Any]]:
        speaker = find_speaker(forge, model, base=which == BASE)
        yield from write_reply(forge, panel, talk, speaker, read_sampling(*drawn))

    def show_branch(talk: Conversation, end: int | None) -> dict[Any, Any]:
        """And keep it: the conversation opens where its reader was."""
        talk = talk.show(ROOT if end is None else end)
        return panel.show(*keep(forge, talk, anew=False))

    def begin(running: threading.Event | None) -> dict[Any, Any]:
        stop(running)
        return panel.show(Conversation())

    asked_of = [panel.state, panel.running, system, *chosen]
    entered = partial(gr.on, [panel.send.click, panel.question.submit])
    asked = [
        listen_in_chat(entered, ask, [panel.question, *asked_of], [*panel.shown, panel.question]),
        listen_in_chat(panel.again.click, ask_again, asked_of, panel.shown),
        listen_in_chat(panel.chat.edit, edit, [panel.state, panel.running], panel.shown),
    ]
    inputs, outputs = [panel.state, *chosen, *drawn], [*panel.shown, panel.running]
    options: dict[str, Any] = {"concurrency_limit": 8, "show_progress_on": panel.chat}  # its dots, until a word comes
    replying = [listen_in_chat(each.success, reply, inputs, outputs, **options) for each in asked]
    listen_in_chat(panel.stop.click, stop, panel.running)
    listen_in_chat(panel.branches.input, show_branch, [panel.state, panel.branches], panel.shown)
    emptied = partial(gr.on, [panel.clear.click, panel.chat.clear])
    listen_in_chat(emptied, begin, panel.running, panel.shown, cancels=replying)
    return replying


def stop(running: threading.Event | None) -> None:
    if running is not None:
        running.set()


def refuse_busy(running: threading.Event | None) -> None:
    """Raises RunStateError while an answer is written: it belongs to the conversation as it was."""
    if isinstance(running, threading.Event) and not running.is_set():
        raise RunStateError("An answer is being written.", fix="Wait for its end, or press Stop first.")


def write_reply(
    forge: Forge, panel: ConversationPanel, talk: Conversation, speaker: Speaker, sampling: Sampling
) -> Iterator[dict[Any, Any]]:
    """The conversation with the answer growing at its end. What was written is kept, also where it is stopped or the
    page is closed."""
    caller, writing, running = current_caller(), Writing(), threading.Event()
    answer, begun, shown, is_whole = "", 0.0, 0.0, False
    yield {panel.chat: [*list_messages(talk), show_answer("…")], panel.running: running}
    warmup.wait()
    pieces = forge.playground.answer(speaker.record, talk.messages(), sampling, base=speaker.base, writing=writing)
    try:
        with contextlib.closing(pieces):  # type: ignore[type-var]  # it holds the model for others otherwise
            for piece in pieces:
                answer += piece
                now = time.monotonic()
                begun = begun or now
                if running.is_set():
                    break
                if now - shown > UPDATE_SECONDS:
                    yield {panel.chat: [*list_messages(talk), show_answer(answer)]}
                    shown = now
        is_whole = not running.is_set()
    except ModelForgeError:
        yield {**panel.show(talk), panel.running: None}
        raise
    finally:
        problem = ""
        if is_whole or answer:
            note = describe_writing(writing, time.monotonic() - begun, is_stopped=not is_whole)
            talk = talk.answer(answer, speaker.name, note)
            with acting_as(caller):  # a page that is closed ends this outside of its person
                talk, problem = keep(forge, talk)
        running.set()
    yield {**panel.show(talk, problem), panel.running: None}


def keep(forge: Forge, talk: Conversation, *, anew: bool = True) -> tuple[Conversation, str]:
    """Save a conversation of a person who has any. Returns it, and why it could not be saved. anew: also one that is
    not saved yet, or was deleted meanwhile."""
    if not current_caller().may_train or not (anew or talk.id):
        return talk, ""
    try:
        return forge.conversations.save(talk), ""
    except NotFoundError:
        return keep(forge, talk.model_copy(update={"id": ""})) if anew else (talk, "")
    except (DiskFullError, StoreError) as error:
        return talk, f"This conversation could not be saved. {error}"


def list_messages(talk: Conversation) -> list[dict[str, str]]:
    """The shown branch as Gradio's messages."""
    turns = [talk.turns[place] for place in talk.branch]
    return [
        show_answer(turn.text if turn.text.strip() else EMPTY, turn.note)
        if turn.role == "assistant"
        else {"role": "user", "content": html.text(turn.text)}
        for turn in turns
    ]


def show_answer(text: str, note: str = "") -> dict[str, str]:
    return {"role": "assistant", "content": html.text(text) + (html.aside(note) if note else "")}


def describe_writing(writing: Writing, seconds: float, *, is_stopped: bool = False) -> str:
    """How much was written and how fast, and what there is to know. seconds: since the first token."""
    parts = []
    if writing.tokens:
        parts.append("1 token" if writing.tokens == 1 else f"{writing.tokens:,} tokens")
    if writing.tokens >= FEWEST_TIMED and seconds > 0:
        parts.append(f"{(writing.tokens - 1) / seconds:.1f} a second")
    parts += ["stopped"] if is_stopped else []
    sentences = [f"{', '.join(parts)}."] if parts else []
    return " ".join(filter(None, [*sentences, writing.by, *writing.notes]))


def describe_branch(talk: Conversation, number: int, end: int) -> str:
    turns = [talk.turns[place] for place in talk.branch_to(end)]
    question = next((turn.text for turn in reversed(turns) if turn.role == "user"), "")
    answer = turns[-1].text if turns[-1].role == "assistant" else ""
    return f"{number}: {shorten(question)} → {shorten(answer) or '(no answer)'}"


def plain_text(content: Any) -> str:
    """The text of a message; Gradio gives it as text or as a list of blocks."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(plain_text(block) for block in content)
    if isinstance(content, dict) and "text" in content:
        return str(content["text"])
    raise RecipeError("Only text can be sent to a model.", fix="Remove the file.")
