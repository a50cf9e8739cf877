"""Two sides: two models answer one prompt beside each other; blind, their sides are shuffled and their names hidden
until the vote."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import gradio as gr

from modelforge import warmup
from modelforge.architecture import DECODER
from modelforge.errors import RecipeError
from modelforge.forge import Forge
from modelforge.models.chat import Playground
from modelforge.models.conversations import check_text
from modelforge.models.sampling import Message, Sampling, Writing
from modelforge.models.votes import Side, Vote
from modelforge.scores.votes import BOTH_BAD, LEFT, RIGHT, TIE
from modelforge.ui.look import html
from modelforge.ui.look.background import BackgroundCall
from modelforge.ui.look.events import listen
from modelforge.ui.playground.choices import Speaker, find_speaker
from modelforge.ui.playground.conversation import BASE, EMPTY, describe_writing
from modelforge.ui.playground.settings import read_sampling
from modelforge.ui.playground.votes import VotesPanel, describe_pair

POLL_SECONDS = 0.1
BUTTONS = {LEFT: "Left is better", TIE: "Tie", BOTH_BAD: "Both are bad", RIGHT: "Right is better"}


@dataclass
class Pen:
    """One side while it is written."""

    speaker: Speaker
    text: str = ""
    writing: Writing = field(default_factory=Writing)
    seconds: float = 0.0
    is_whole: bool = False

    def write(self, playground: Playground, messages: Sequence[Message], sampling: Sampling, note: Any) -> None:
        begun = 0.0
        record, base = self.speaker.record, self.speaker.base
        for piece in playground.answer(record, messages, sampling, base=base, writing=self.writing):
            begun = begun or time.monotonic()
            self.text += piece
            self.seconds = time.monotonic() - begun
            note(None)
        self.is_whole = True


@dataclass(frozen=True)
class Round:
    """A prompt that two have answered. pens: left and right. vote: "" until there is one."""

    prompt: tuple[Message, ...]
    pens: tuple[Pen, Pen]
    blind: bool
    vote: str = ""

    @property
    def is_whole(self) -> bool:
        return all(pen.is_whole for pen in self.pens)

    def as_vote(self, said: str) -> Vote:
        left, right = (Side(model=p.speaker.value, name=p.speaker.name, answer=p.text) for p in self.pens)
        return Vote(prompt=self.prompt, left=left, right=right, vote=said, blind=self.blind)


class SidesPanel:
    """Its components. The first side is the model chosen on top of the tab."""

    def __init__(self) -> None:
        self.round, self.running = gr.State(None), gr.State(None)
        with gr.Column(visible=False) as self.box:
            with gr.Row():
                self.against = gr.Dropdown(
                    [], label="Compare with", allow_custom_value=True, scale=3, min_width=260, elem_id="sides-against"
                )
                self.blind = gr.Checkbox(
                    True,
                    label="Blind",
                    info="Sides are shuffled; names are shown after your vote.",
                    scale=2,
                    min_width=260,
                    elem_id="sides-blind",
                )
            self.prompt = gr.Textbox(
                label="Prompt", placeholder="One prompt for both", lines=2, max_lines=8, elem_id="sides-prompt"
            )
            with gr.Row(elem_classes="mf-actions"):
                self.start = gr.Button("Answer both", variant="primary", elem_id="sides-start")
                self.stop = gr.Button("Stop", variant="stop", elem_id="sides-stop")
            self.answers = gr.HTML("", elem_id="sides-answers")
            with gr.Row(visible=False, elem_classes="mf-actions mf-votes") as self.row:
                self.buttons = {
                    vote: gr.Button(label, min_width=120, elem_id=f"sides-{vote.replace(' ', '-')}")
                    for vote, label in BUTTONS.items()
                }
            self.revealed = gr.HTML("", elem_id="sides-revealed")
            self.votes = VotesPanel()


def attach_sides(forge: Forge, panel: SidesPanel, chosen: list[Any], system: Any, drawn: list[Any]) -> None:
    """chosen: model and who answers."""

    def start(  # noqa: PLR0917 - as the page sends them
        prompt: str | None,
        model: str | None,
        which: str,
        against: str | None,
        blind: bool,
        system: str | None,
        *drawn: Any,
    ) -> Iterator[dict[Any, Any]]:
        """Both answers, growing, then the buttons to vote."""
        sampling = read_sampling(*drawn)
        speakers = find_both(forge, model, which, against)
        if blind and secrets.randbelow(2):
            speakers = speakers[::-1]
        opening: list[Message] = [{"role": "system", "content": system}] if system and system.strip() else []
        messages = (*opening, {"role": "user", "content": check_text(prompt or "")})
        made = Round(messages, (Pen(speakers[0]), Pen(speakers[1])), blind)
        yield {panel.answers: show_round(made), panel.row: gr.Row(visible=False), panel.revealed: ""}
        warmup.wait()
        calls = write_round(forge.playground, made, sampling)
        try:
            yield {panel.running: calls}
            while not all(call.wait(POLL_SECONDS) for call in calls):
                yield {panel.answers: show_round(made)}
        finally:
            for call in calls:  # of a page that is closed
                call.cancel()
        ended = {panel.running: None, panel.round: made, panel.answers: show_round(made, is_done=True)}
        yield {**ended, panel.row: gr.Row(visible=made.is_whole)}
        for call in calls:
            raise_problem(call)
        if not made.is_whole:
            yield {panel.revealed: html.note("Stopped; only whole answers can be voted on.")}

    def stop(calls: list[BackgroundCall[None]] | None) -> None:
        for call in calls or ():
            call.cancel()

    def vote(said: str, made: Round | None) -> dict[Any, Any]:
        if not isinstance(made, Round) or not made.is_whole or made.vote:
            raise RecipeError("There are no two whole answers to vote on.", fix="Let both sides answer a prompt first.")
        kept = forge.votes.add(made.as_vote(said))
        done = replace(made, vote=said)
        shown = f"Left: {kept.left.name}. Right: {kept.right.name}."
        tally = next(
            (describe_pair(names, each) for pair, names, each in forge.votes.tallies() if pair == kept.pair), ""
        )
        return {
            panel.round: done,
            panel.answers: show_round(done, is_done=True),
            panel.row: gr.Row(visible=False),
            panel.revealed: html.note(f"{shown} {tally}"),
            **panel.votes.show(forge),
        }

    inputs = [panel.prompt, *chosen, panel.against, panel.blind, system, *drawn]
    shown = [panel.answers, panel.row, panel.revealed, panel.round, panel.running]
    for event in (panel.start.click, panel.prompt.submit):
        listen(event, start, inputs, shown, concurrency_limit=8)
    listen(panel.stop.click, stop, panel.running)
    voted = [panel.round, panel.answers, panel.row, panel.revealed, *panel.votes.shown]
    for said, button in panel.buttons.items():
        listen(button.click, partial(vote, said), panel.round, voted)
    panel.votes.attach(forge)


def find_both(forge: Forge, model: str | None, which: str, against: str | None) -> tuple[Speaker, Speaker]:
    """Raises RecipeError where they are the same, or one cannot chat."""
    if not (against or "").strip():
        raise RecipeError("Nobody is chosen to compare with.", fix="Choose another model, or a base model.")
    first, second = find_speaker(forge, model, base=which == BASE), find_speaker(forge, against)
    if first.value == second.value:
        raise RecipeError("Both sides are the same model.", where=first.name, fix="Choose another one to compare with.")
    for each in (first, second):
        if each.record.architecture != DECODER.name:
            raise RecipeError("This model does not chat.", where=each.name, fix="Choose one for text generation.")
    return first, second


def write_round(playground: Playground, made: Round, sampling: Sampling) -> list[BackgroundCall[None]]:
    """Sides with the same weights are written at once, taking turns; others one after the other, so that one model is
    in memory at a time."""
    left, right = made.pens
    together = left.speaker.record.id == right.speaker.record.id
    groups = [[left], [right]] if together else [[left, right]]

    def write(pens: list[Pen], note: Callable[[Any], None]) -> None:
        for pen in pens:
            pen.write(playground, made.prompt, sampling, note)

    return [BackgroundCall(partial(write, pens)) for pens in groups]


def raise_problem(call: BackgroundCall[None]) -> None:
    try:
        call.result()
    except CancelledError:
        return


def show_round(made: Round, *, is_done: bool = False) -> str:
    """Both answers beside each other. Who they are, and how fast, is hidden until the vote where it is blind."""
    is_hidden = made.blind and not made.vote
    sides = ""
    for pen, title in zip(made.pens, ("Left", "Right"), strict=True):
        name = title if is_hidden else f"{title}: {pen.speaker.name}"
        note = "" if is_hidden or not is_done else html.aside(describe_writing(pen.writing, pen.seconds))
        waiting = EMPTY if pen.is_whole else "" if is_done else "…"
        body = f'<div class="mf-answer">{html.text(pen.text if pen.text.strip() else waiting)}</div>'
        chosen = " mf-preferred" if made.vote == title.lower() else ""
        sides += f'<div class="mf-side{chosen}"><b>{html.text(name)}</b>{body}{note}</div>'
    return f'<div class="mf-sides">{sides}</div>'
