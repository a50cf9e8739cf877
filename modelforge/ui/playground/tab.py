"""Playground: who answers on top; below that what the model's task needs, or two sides on one prompt; settings beside.

The parts are in files of this folder: `conversation`, `sides`, `votes`, `saved`, `documents`, `questions`, `settings`;
who can answer in `choices`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from modelforge.architecture import DECODER
from modelforge.caller import current_caller
from modelforge.errors import ModelForgeError
from modelforge.forge import Forge
from modelforge.models.untrained import is_untrained
from modelforge.recipe import Task
from modelforge.store import ModelRecord
from modelforge.tasks import TASKS
from modelforge.ui.look import html
from modelforge.ui.look.events import listen_all
from modelforge.ui.playground import choices, saved
from modelforge.ui.playground.conversation import BASE, TUNED, ConversationPanel, attach_conversation
from modelforge.ui.playground.documents import DocumentPanel, attach_documents
from modelforge.ui.playground.questions import QuestionPanel, attach_questions
from modelforge.ui.playground.settings import SettingsPanel
from modelforge.ui.playground.sides import SidesPanel, attach_sides

ONE, TWO = "One model", "Two sides"


class PlaygroundTab:
    """Its components. `fitted` depends on the chosen model."""

    def __init__(self) -> None:
        gr.HTML(html.title("Playground", "Talk to a model, before or after training, and compare two of them."))
        with gr.Row():
            self.model = gr.Dropdown(
                [],
                label="Model",
                allow_custom_value=True,
                scale=3,
                min_width=260,
                elem_id="chat-model",
            )
            self.which = gr.Radio(
                [TUNED, BASE],
                value=TUNED,
                label="Who answers",
                info="Base: what this model was trained from.",
                scale=2,
                min_width=200,
                elem_id="chat-which",
            )
            self.mode = gr.Radio(
                [ONE, TWO],
                value=ONE,
                label="Compare",
                info="Two sides: both answer the same prompt.",
                scale=2,
                min_width=200,
                visible=False,
                elem_id="chat-mode",
            )
        self.hint = gr.HTML("", elem_id="playground-hint")
        with gr.Row():
            with gr.Column(scale=3, min_width=320, elem_id="playground-main"):
                self.talk = ConversationPanel()
                self.sides = SidesPanel()
                self.documents = DocumentPanel()
                self.questions = QuestionPanel()
            with gr.Column(scale=1, min_width=260):
                self.saved = saved.SavedPanel()
                with gr.Column() as self.side:
                    self.settings = SettingsPanel()
        boxes = [self.talk.box, self.sides.box, self.documents.box, self.questions.box]
        self.fitted = [
            *[self.hint, self.which, self.mode, *boxes, self.side, self.settings.system, self.saved.box],
            self.sides.against,
        ]


def build(forge: Forge) -> PlaygroundTab:
    tab = PlaygroundTab()
    asked_of, system, drawn = [tab.model, tab.which], tab.settings.system, tab.settings.drawn
    replied = attach_conversation(forge, tab.talk, asked_of, system, drawn)
    attach_sides(forge, tab.sides, asked_of, system, drawn)
    attach_documents(forge, tab.documents, asked_of, drawn)
    attach_questions(forge, tab.questions, asked_of)
    saved.attach_saved(forge, tab.saved, tab.talk, replied, [system, *asked_of])
    tab.settings.attach()
    events = [tab.model.change, tab.which.input, tab.mode.input]
    listen_all(events, partial(fit, forge, tab), [*asked_of, tab.mode, tab.sides.against], tab.fitted, for_chat=True)
    return tab


def show_kept(forge: Forge, tab: PlaygroundTab) -> dict[Any, Any]:
    """What this person has saved: votes and conversations."""
    return {**tab.sides.votes.show(forge), **saved.list_saved(forge, tab.saved)}


def list_kept(tab: PlaygroundTab) -> list[Any]:
    """The outputs of `show_kept`."""
    return [*tab.sides.votes.shown, *tab.saved.shown]


def fit(forge: Forge, tab: PlaygroundTab, *values: Any) -> dict[Any, Any]:
    """Values of `PlaygroundTab.fitted`: only the inputs of the model's task are visible. values: of model, who answers,
    mode, and with whom it is compared."""
    model, which, mode, against = values
    may_keep = current_caller().may_train
    record, hint = describe(forge, model)
    task = Task(record.task) if record else Task.TEXT_GENERATION
    is_asked, chats = task == Task.EXTRACTIVE_QUESTION_ANSWERING, record is None or record.architecture == DECODER.name
    reads = task == Task.SUMMARIZATION
    has_two = bool(record) and chats and not reads and may_keep
    is_two = has_two and mode == TWO
    shown = {
        tab.talk.box: not (is_asked or reads or is_two),
        tab.sides.box: is_two,
        tab.documents.box: reads,
        tab.questions.box: is_asked,
        tab.side: not is_asked,
        tab.saved.box: may_keep and not (is_asked or reads or is_two),
    }
    changed: dict[Any, Any] = {box: gr.update(visible=visible) for box, visible in shown.items()}
    is_base = record is not None and is_untrained(record)
    offered = choices.offer_others(forge, model, base=which == BASE and not is_base) if is_two else None
    kept = offered is not None and against in [value for _, value in offered.choices] and against != model
    return {
        **changed,
        tab.hint: hint,
        tab.which: gr.Radio(visible=not is_base, **({"value": TUNED} if is_base else {})),
        tab.mode: gr.Radio(visible=has_two),
        tab.settings.system: gr.Textbox(visible=not (is_asked or reads)),
        tab.sides.against: gr.skip() if offered is None else gr.update(choices=offered.choices) if kept else offered,
    }


def describe(forge: Forge, model: str | None) -> tuple[ModelRecord | None, str]:
    """The model, and a sentence about it or about why it cannot be used."""
    try:
        record = choices.find_record(forge, model)
    except ModelForgeError as error:
        return None, html.note(str(error), "warning") if model else ""
    if is_untrained(record):
        return record, html.aside(f"{record.base_model}, before any training. {record.description}")
    if problem := forge.models.find_problem(record):
        return record, html.note(str(problem), "bad")
    title = TASKS[Task(record.task)].title
    return record, html.aside(f"{title}, from {record.base_model}, trained on {record.dataset_name}.")
