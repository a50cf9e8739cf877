"""The planner's verdict beneath the form: whether a run fits this machine, what it takes, and what would make it fit.

What is reckoned is the planner's affair; here it is asked, remembered for a while, and shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from modelforge.errors import ModelForgeError
from modelforge.forge import Forge
from modelforge.hardware import describe_bytes
from modelforge.planner import Plan
from modelforge.planner.estimate import Rows
from modelforge.planner.service import SERVICE
from modelforge.recipe import Recipe
from modelforge.ui.look import html
from modelforge.ui.look.events import listen, listen_all
from modelforge.ui.train.form import TrainForm
from modelforge.ui.train.offers import find_examples

MOST_ADVICE = 3
QUICK_SECONDS = 0.5  # what is known sooner needs no word that it is being reckoned
VERDICT_SECONDS = 60.0
ADVICE_SECONDS = 60.0  # each piece of advice is reckoned too
RETRY_SECONDS = 20.0  # how long a retry waits for advice

_KINDS = {"fits": "good", "tight": "warning", "won't fit": "bad", "unknown": "quiet"}


@dataclass(frozen=True)
class Judgement:
    """A verdict in words. advice: (what a button says, the settings it puts in)."""

    verdict: str
    sentence: str
    numbers: tuple[tuple[str, str], ...] = ()
    advice: tuple[tuple[str, dict[str, Any]], ...] = ()


class VerdictPanel:
    """Its components; `judged` holds the values of the form that were found not to fit, `offered` the settings that
    each button puts in."""

    def __init__(self) -> None:
        self.shown = gr.HTML("", elem_id="train-verdict")
        self.judged = gr.State([])
        self.offered = gr.State([])
        self.help = gr.HTML("")
        with gr.Row(elem_classes="mf-actions mf-advice"):
            self.buttons = [
                gr.Button("", size="sm", visible=False, min_width=140, elem_id=f"train-advice-{index + 1}")
                for index in range(MOST_ADVICE)
            ]

    @property
    def outputs(self) -> list[Any]:
        return [self.help, self.offered, *self.buttons]


def attach_verdict(forge: Forge, form: TrainForm, panel: VerdictPanel) -> None:
    """Judge whenever the form has changed, then look for what would help, which one press puts in."""

    def show(*values: Any) -> Iterator[list[Any]]:
        recipe = _read(forge, form, values)
        found = judge(forge, recipe, seconds=QUICK_SECONDS) if recipe else Judgement("unknown", "")
        if recipe and found is None:
            yield [html.aside("Reckoning what this needs …"), []]
            found = judge(forge, recipe, seconds=VERDICT_SECONDS)
        if found is None:
            found = Judgement("unknown", "What this needs takes too long to reckon; it will show when it runs.")
        yield [_describe(found), list(values) if found.verdict in ("tight", "won't fit") and found.numbers else []]

    def advise(judged: list[Any]) -> Iterator[list[Any]]:
        recipe = _read(forge, form, judged) if judged else None
        if recipe is None:
            yield _offer("", ())
            return
        usual = list_usual_remedies(recipe)
        yield _offer(
            "What usually helps, while it is reckoned what is sure to fit; a press changes the settings:", usual
        )
        found = judge(forge, recipe, seconds=ADVICE_SECONDS, advise=True)
        if found and found.advice:
            yield _offer("What makes it fit; a press changes the settings:", found.advice)
        else:
            yield _offer("What usually helps; a press changes the settings:" if usual else "", usual)

    def take(index: int, offered: list[dict[str, Any]], advised: dict[str, Any]) -> list[Any]:
        """Put the settings of an advice into the form, and remember that they were put there."""
        settings = offered[index] if index < len(offered) else {}
        values = [gr.update(value=settings[name]) if name in settings else gr.skip() for name in form.named]
        return [{**advised, **settings}, *values]

    watched = [widget for name, widget in form.named.items() if name != "name"] + form.rewards.inputs
    listen_all([each.change for each in watched], show, form.inputs, [panel.shown, panel.judged])
    listen_all([panel.judged.change], advise, panel.judged, panel.outputs)
    for index, button in enumerate(panel.buttons):
        listen(
            button.click,
            lambda offered, advised, index=index: take(index, offered, advised),
            [panel.offered, form.advised],
            [form.advised, *form.named.values()],
        )


def _read(forge: Forge, form: TrainForm, values: Any) -> Recipe | None:
    """The recipe of the form; None where it has none yet, or something is wrong, which is said where it is wrong."""
    if not form.is_open(*values):
        return None
    try:
        return form.read(forge, *values)
    except ModelForgeError:
        return None


def _describe(judged: Judgement) -> str:
    if not judged.sentence:
        return ""
    numbers = html.tiles(judged.numbers) if judged.numbers else ""
    return html.note(judged.sentence, _KINDS[judged.verdict]) + numbers


def _offer(sentence: str, advice: Sequence[tuple[str, dict[str, Any]]]) -> list[Any]:
    """Values of `VerdictPanel.outputs`."""
    advice = advice[:MOST_ADVICE]
    buttons = [gr.Button(title, visible=True) for title, _ in advice]
    hidden = [gr.Button(visible=False) for _ in range(MOST_ADVICE - len(advice))]
    return [html.aside(sentence) if sentence else "", [settings for _, settings in advice], *buttons, *hidden]


def find_remedy(forge: Forge, recipe: Recipe) -> tuple[str, Recipe] | None:
    """(what is changed, the recipe) that needs less memory than one that ran out of it; None where nothing is left."""
    judged = judge(forge, recipe, seconds=RETRY_SECONDS, advise=True)
    reckoned = [each for each in (judged.advice if judged else ()) if "base_model" not in each[1]]
    for title, settings in [*reckoned, *list_usual_remedies(recipe)]:
        return title, recipe.with_settings(settings)
    return None


def list_usual_remedies(recipe: Recipe) -> tuple[tuple[str, dict[str, Any]], ...]:
    """The usual way down, not reckoned: smaller batches with as many examples a step, then computing values twice, then
    shorter examples."""
    found: list[tuple[str, dict[str, Any]]] = []
    batch, added = recipe.per_device_train_batch_size, recipe.gradient_accumulation_steps
    if batch > 1:
        parts = -(-batch // (batch // 2))  # 3 for a batch of 3
        halved = {"per_device_train_batch_size": batch // 2, "gradient_accumulation_steps": added * parts}
        found.append((f"Work on {batch // 2} at once and add up {added * parts} batches.", halved))
    if recipe.gradient_checkpointing != "on":
        found.append(("Switch gradient checkpointing on: slower, less memory.", {"gradient_checkpointing": "on"}))
    if recipe.max_length > 128:
        half = recipe.max_length // 2
        found.append((f"Cut examples at {half} tokens: longer ones lose their end.", {"max_length": half}))
    return tuple(found)


def judge(forge: Forge, recipe: Recipe, *, seconds: float, advise: bool = False) -> Judgement | None:
    """The planner's verdict; None where it is not known within `seconds`."""
    examples = find_examples(forge, recipe.dataset)
    rows = Rows(examples.rows, examples.longest or None, examples.mean_tokens)
    try:
        made = SERVICE.ask(recipe, rows, seconds=seconds, with_advice=advise)
    except ModelForgeError as error:
        return Judgement("won't fit", str(error))
    return None if made is None else _translate(recipe, made)


def _translate(recipe: Recipe, made: Plan) -> Judgement:
    size, disk = describe_bytes, made.disk
    numbers = [("Disk", f"{size(disk.needed)} of {size(disk.free)} free")]
    if made.memory:
        numbers.insert(0, ("Memory", f"{size(made.memory.total)} of {size(made.memory.available)}"))
    if made.seconds:
        numbers.append(("Time", f"about {html.seconds(made.seconds)}"))
    settled = {"base_model", "tuning.type"} if recipe.parent else set()
    advice = [each for each in made.advice if not settled & set(each.settings)]
    return Judgement(
        made.verdict if disk.fits else "won't fit",
        made.sentence,
        tuple(numbers),
        tuple((each.sentence, dict(each.settings)) for each in advice),
    )
