"""The planner's verdict below the form: whether a run fits this machine, what it needs, and what would make it fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gradio as gr

from modelforge.data.lengths import count_pieces
from modelforge.errors import ModelForgeError
from modelforge.forge import Forge
from modelforge.hardware import describe_bytes
from modelforge.planner.advice import Change, list_usual_changes
from modelforge.planner.estimate import Plan, Rows
from modelforge.planner.service import SERVICE
from modelforge.recipe import Recipe
from modelforge.runs.baseline import describe_time as describe_trial
from modelforge.ui.look import html
from modelforge.ui.look.events import listen, listen_all
from modelforge.ui.train.baseline import describe_time
from modelforge.ui.train.form import TrainForm
from modelforge.ui.train.offers import find_examples

MOST_ADVICE = 3
QUICK_SECONDS = 0.5  # an answer that comes sooner needs no note that it is being computed
LONGEST_SECONDS = 60.0  # advice, each piece of which is computed too, and micro-steps, which load torch first
RETRY_SECONDS = 20.0  # how long a retry waits for advice

_KINDS = {"fits": "good", "tight": "warning", "won't fit": "bad", "unknown": "quiet"}


@dataclass(frozen=True)
class Judgement:
    """A verdict in words. advice: (settings that a button inserts, its title). is_guess: the time was not measured.
    quicker: an advice that saves time where the run fits.
    trial: how long it takes to try the base model; "" where that is not known."""

    verdict: str
    sentence: str
    numbers: tuple[tuple[str, str], ...] = ()
    advice: tuple[Change, ...] = ()
    is_guess: bool = False
    quicker: tuple[Change, ...] = ()
    trial: str = ""


class VerdictPanel:
    """Its components. `judged` holds the form's values that there is advice on, `guessed` those whose time is a guess,
    `offered` the settings that each button inserts."""

    def __init__(self) -> None:
        self.shown = gr.HTML("", elem_id="train-verdict")
        self.judged = gr.State([])
        self.guessed = gr.State([])
        self.offered = gr.State([])
        self.help = gr.HTML("")
        with gr.Row(elem_classes="mf-actions mf-advice"):
            self.buttons = [
                gr.Button("", size="sm", visible=False, min_width=140, elem_id=f"train-advice-{index + 1}")
                for index in range(MOST_ADVICE)
            ]
        self.outputs = [self.help, self.offered, *self.buttons]


def attach_verdict(form: TrainForm, panel: VerdictPanel, trial_time: Any) -> None:
    """Judge whenever the form has changed; then measure the time, and look for changes that make it fit. trial_time:
    shows how long it takes to try the base model."""

    forge = form.forge

    def read(values: list[Any]) -> Recipe | None:
        """None also where the form has an error, which is shown where it is."""
        try:
            return form.read_if_complete(*values) if values else None
        except ModelForgeError:
            return None

    def show(*values: Any) -> Iterator[list[Any]]:
        recipe = read(list(values))
        found = judge(forge, recipe, seconds=QUICK_SECONDS) if recipe else Judgement("unknown", "")
        if recipe and found is None:
            yield [html.aside("Computing what this needs …"), [], [], gr.skip()]
            found = judge(forge, recipe, seconds=LONGEST_SECONDS)
        if found is None:
            found = Judgement("unknown", "What this needs takes too long to compute. The run will show it.")
        misses = found.verdict in ("tight", "won't fit") and found.numbers
        guessed = list(values) if found.is_guess else []
        advisable = misses or (found.quicker and not found.is_guess)
        yield [_describe(found), list(values) if advisable else [], guessed, describe_time(found.trial)]

    def measure_time(guessed: list[Any]) -> Any:
        """Not beside a run: it would slow both, and measure that."""
        recipe = read(guessed) if not forge.runs.is_busy() else None
        found = judge(forge, recipe, seconds=LONGEST_SECONDS, calibrate=True) if recipe else None
        if found is None or found.is_guess:
            return gr.skip()
        return [_describe(found), guessed if found.quicker else gr.skip(), describe_time(found.trial)]

    def advise(judged: list[Any]) -> Iterator[list[Any]]:
        recipe = read(judged)
        if recipe is None:
            yield _offer("", ())
            return
        found = judge(forge, recipe, seconds=LONGEST_SECONDS)
        if found and found.verdict == "fits":
            if found.is_guess:  # by now the time has been measured
                found = judge(forge, recipe, seconds=LONGEST_SECONDS, calibrate=True) or found
            yield _offer("What saves time; a click changes the settings:" if found.quicker else "", found.quicker)
            return
        usual = list_usual_changes(recipe)
        yield _offer("What usually helps, until it is computed what fits; a click changes the settings:", usual)
        found = judge(forge, recipe, seconds=LONGEST_SECONDS, advise=True)
        if found and found.advice:
            yield _offer("What makes it fit; a click changes the settings:", found.advice)
        else:
            yield _offer("What usually helps; a click changes the settings:" if usual else "", usual)

    def take(index: int, offered: list[dict[str, Any]], advised: dict[str, Any]) -> dict[Any, Any]:
        """Insert the settings of an advice into the form, and remember which were inserted."""
        settings = offered[index] if index < len(offered) else {}
        inserted = {form.named[name]: gr.update(value=value) for name, value in settings.items()}
        return {form.advised: {**advised, **settings}, **inserted}

    watched = [widget for name, widget in form.named.items() if name != "name"] + form.rewards.inputs
    shown = [panel.shown, panel.judged, panel.guessed, trial_time]
    listen_all([each.change for each in watched], show, form.inputs, shown)
    listen_all([panel.judged.change], advise, panel.judged, panel.outputs)
    listen_all([panel.guessed.change], measure_time, panel.guessed, [panel.shown, panel.judged, trial_time])
    for index, button in enumerate(panel.buttons):
        inserted = [form.advised, *form.named.values()]
        listen(button.click, partial(take, index), [panel.offered, form.advised], inserted)


def _describe(judged: Judgement) -> str:
    if not judged.sentence:
        return ""
    numbers = html.tiles(judged.numbers) if judged.numbers else ""
    return html.note(judged.sentence, _KINDS[judged.verdict]) + numbers


def _offer(sentence: str, advice: Sequence[Change]) -> list[Any]:
    """Values of `VerdictPanel.outputs`."""
    advice = advice[:MOST_ADVICE]
    buttons = [gr.Button(title, visible=True) for _, title in advice]
    hidden = [gr.Button(visible=False) for _ in range(MOST_ADVICE - len(advice))]
    return [html.aside(sentence) if sentence else "", [settings for settings, _ in advice], *buttons, *hidden]


def find_remedy(forge: Forge, recipe: Recipe) -> tuple[str, Recipe] | None:
    """(what changes, the recipe) that needs less memory than one that ran out of it; None where nothing is left."""
    judged = judge(forge, recipe, seconds=RETRY_SECONDS, advise=True)
    computed = [each for each in (judged.advice if judged else ()) if "base_model" not in each[0]]
    remedies = [*computed, *list_usual_changes(recipe)]
    return (remedies[0][1], recipe.with_settings(remedies[0][0])) if remedies else None


def judge(
    forge: Forge, recipe: Recipe, *, seconds: float, advise: bool = False, calibrate: bool = False
) -> Judgement | None:
    """The planner's verdict; None if it is not ready within `seconds`."""
    examples = find_examples(forge, recipe.dataset)
    count, mean_tokens = examples.rows, examples.mean_tokens
    if examples.shape.form == "text" and recipe.long_texts == "divide":
        count, mean_tokens = count_pieces(count, mean_tokens, recipe.max_length)
    rows = Rows(count, examples.longest or None, mean_tokens)
    try:
        made = SERVICE.ask(recipe, rows, seconds=seconds, with_advice=advise, calibrate=calibrate)
    except ModelForgeError as error:
        return Judgement("won't fit", str(error))
    if made is None:
        return None
    return replace(_translate(recipe, made), trial=describe_trial(made, examples.rows, examples.longest))


def _translate(recipe: Recipe, made: Plan) -> Judgement:
    size, disk = describe_bytes, made.disk
    numbers = [("Disk", f"{size(disk.needed)} of {size(disk.free)} free")]
    if made.memory:
        numbers.insert(0, ("Memory", f"{size(made.memory.total)} of {size(made.memory.available)}"))
    if made.time:
        numbers.append(("Time", made.time))
    fixed = {"base_model", "tuning.type"} if recipe.parent else set()
    advice = [each for each in made.advice if not fixed & set(each.settings)]
    return Judgement(
        made.verdict if disk.fits else "won't fit",
        made.sentence,
        tuple(numbers),
        tuple((dict(each.settings), each.sentence) for each in advice),
        is_guess=bool(made.time) and made.timing == "guess",
        quicker=((dict(made.quicker.settings), made.quicker.sentence),) if made.quicker and disk.fits else (),
    )
