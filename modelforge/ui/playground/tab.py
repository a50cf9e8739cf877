"""Playground: the model and the switch base / fine-tuned on top; below them the inputs for the model's task.

The conversation is here; documents and questions on a text are in `texts`. Gradio treats a message as HTML, with or
without Markdown, and fetches the pictures in it from anywhere. So messages are escaped in the conversation that is
shown, and unescaped for the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from html import unescape
from typing import Any

import gradio as gr

from modelforge import warmup
from modelforge.errors import ModelForgeError, NotFoundError, RecipeError
from modelforge.forge import Forge
from modelforge.models.sampling import Sampling
from modelforge.recipe import Task
from modelforge.tasks import TASKS
from modelforge.ui.look import html
from modelforge.ui.look.events import listen_in_chat
from modelforge.ui.playground import texts

HELP = {name: field.description for name, field in Sampling.model_fields.items()}
SLIDERS: dict[str, tuple[float, float, float]] = {
    "temperature": (0, 2, 0.05),
    "top_p": (0.05, 1, 0.05),
    "max_new_tokens": (1, 1024, 1),
}
"""Setting -> its lowest and highest value, and the step between values."""


class PlaygroundTab:
    """Its components. `drawn` are the settings of an answer, `fitted` depends on the chosen model."""

    def __init__(self) -> None:
        gr.HTML(html.title("Playground", "Try a model. Switch to Base to compare it with the untrained base model."))
        with gr.Row():
            self.model = gr.Dropdown([], label="Model", scale=3, min_width=260, elem_id="chat-model")
            self.which = gr.Radio(
                [texts.TUNED, texts.BASE],
                value=texts.TUNED,
                label="Who answers",
                scale=2,
                min_width=260,
                elem_id="chat-which",
            )
        self.hint = gr.HTML("", elem_id="playground-hint")
        with gr.Row():
            with gr.Column(scale=3, min_width=320, elem_id="playground-main"):
                self._build_chat()
                self.documents = texts.DocumentPanel()
                self.questions = texts.QuestionPanel()
            with gr.Column(scale=1, min_width=260) as self.side:
                self._build_settings()
        self.fitted = [self.hint, self.chat_box, self.documents.box, self.questions.box, self.side, self.system]

    def _build_chat(self) -> None:
        with gr.Column() as self.chat_box:
            self.chat = gr.Chatbot(
                label="Conversation",
                show_label=False,
                height=460,
                placeholder="Ask something that your examples cover.",
                buttons=[],  # what it would copy is escaped
                render_markdown=False,  # word for word
                elem_id="chat",
            )
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
                self.clear = gr.Button("New conversation", elem_id="chat-clear")

    def _build_settings(self) -> None:
        self.system = gr.Textbox(label="System prompt", info="Instructions for the whole conversation.", lines=3)
        sliders = [
            gr.Slider(low, high, getattr(Sampling(), name), step=step, label=name, info=HELP[name])
            for name, (low, high, step) in SLIDERS.items()
        ]
        # A number field would send 0 when it is empty.
        seed = gr.Textbox(label="seed", info=f"{HELP['seed']} Empty: a new seed each time.", max_length=10)
        self.drawn = [*sliders, seed]


def build(forge: Forge) -> PlaygroundTab:
    tab = PlaygroundTab()

    def ask(question: str, chat: list[Any], model_id: str | None) -> list[Any]:
        """Add the question to the conversation and empty the box. Raises NotFoundError where no model is chosen."""
        if not question.strip():
            raise RecipeError("The question is empty.", fix="Type a question first.")
        forge.models.find(model_id or "")
        return ["", [*chat, {"role": "user", "content": html.text(question)}]]

    def reply(chat: list[Any], model_id: str | None, which: str, system: str, *drawn: Any) -> Iterator[list[Any]]:
        """The conversation with the answer growing at its end."""
        record = forge.models.find(model_id or "")
        sampling = texts.read_sampling(*drawn)
        messages = [{"role": turn["role"], "content": unescape(plain_text(turn["content"]))} for turn in chat]
        opening = [{"role": "system", "content": system}] if system.strip() else []
        answer = ""
        yield [*chat, {"role": "assistant", "content": "…"}]
        warmup.wait()
        for piece in forge.playground.answer(record, [*opening, *messages], sampling, base=which == texts.BASE):
            answer += piece
            yield [*chat, {"role": "assistant", "content": html.text(answer)}]
        if not answer:
            yield [*chat, {"role": "assistant", "content": "(The answer is empty.)"}]

    entered = partial(gr.on, [tab.send.click, tab.question.submit])
    asked = listen_in_chat(entered, ask, [tab.question, tab.chat, tab.model], [tab.question, tab.chat])
    settings = [tab.model, tab.which, tab.system, *tab.drawn]
    replying = listen_in_chat(asked.success, reply, [tab.chat, *settings], tab.chat, concurrency_limit=8)
    tab.stop.click(None, None, None, cancels=replying, api_visibility="private")
    listen_in_chat(tab.clear.click, lambda: [], None, tab.chat, cancels=replying)
    listen_in_chat(tab.model.change, lambda model_id: fit(forge, model_id), tab.model, tab.fitted)
    texts.attach_documents(forge, tab.documents, [tab.model, tab.which], tab.drawn)
    texts.attach_questions(forge, tab.questions, [tab.model, tab.which])
    return tab


def fit(forge: Forge, model_id: str | None) -> list[Any]:
    """Values of `PlaygroundTab.fitted`: only the inputs of the model's task are visible."""
    try:
        record = forge.models.find(model_id or "")
    except ModelForgeError as error:
        hint = html.note(str(error), "warning") if model_id else ""
        return [hint, *(gr.Column(visible=visible) for visible in (True, False, False, True)), gr.skip()]
    problem = forge.models.find_problem(record)
    shown = [record.task == task for task in (Task.TEXT_GENERATION, Task.SUMMARIZATION)]
    asks = record.task == Task.EXTRACTIVE_QUESTION_ANSWERING
    sentence = f"{TASKS[Task(record.task)].title}, from {record.base_model}, trained on {record.dataset_name}."
    hint = html.note(str(problem), "bad") if problem else html.aside(sentence)
    boxes = [gr.Column(visible=visible) for visible in (*shown, asks, not asks)]
    return [hint, *boxes, gr.Textbox(visible=shown[0])]


def plain_text(content: Any) -> str:
    """The text of a message; Gradio gives it as text or as a list of blocks."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(plain_text(block) for block in content)
    if isinstance(content, dict) and "text" in content:
        return str(content["text"])
    raise NotFoundError("Only text can be sent to a model.", fix="Remove the file.")
