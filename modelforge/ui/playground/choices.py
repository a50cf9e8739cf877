"""Who can answer in the Playground: finished models, their base models, and base models before any training.

A value of the list is the id of a model, or "base:" and the name of a base model; a name can be typed too. Who may name
what is decided by `models/untrained.py`, as for training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from modelforge import catalog, hardware, starter
from modelforge.architecture import DECODER
from modelforge.base_model import hub
from modelforge.base_model.find import find_here
from modelforge.caller import current_caller
from modelforge.errors import NotFoundError
from modelforge.forge import Forge
from modelforge.models.untrained import find_untrained, is_untrained
from modelforge.recipe import Task
from modelforge.store import ModelRecord
from modelforge.ui.look import html
from modelforge.ui.look.choices import Choices

BASE = "base:"
OF = "|base"
"""Ends the value of the base model that a finished model was trained from."""
WHO = "Your models, and base models before any training."
NO_MODEL = "No model yet. Talk to a base model, or train one first: the Train tab has everything chosen."


@dataclass(frozen=True)
class Speaker:
    """Who answers: a model, or with `base` what it was trained from. value: as in the list."""

    record: ModelRecord
    base: bool = False
    value: str = ""

    @property
    def name(self) -> str:
        return f"{self.record.name} (its base model)" if self.base else self.record.name


def find_record(forge: Forge, value: str | None) -> ModelRecord:
    """The model that a value of the list names, or something typed.

    Raises NotFoundError, BaseModelError, AccessError, MemoryFullError.
    """
    text = (value or "").strip()
    if text.startswith(BASE):
        return find_untrained(text.removeprefix(BASE))
    try:
        return forge.models.find(text)
    except NotFoundError:
        if "/" in text or "\\" in text:  # an id of the Hub, or a folder
            return find_untrained(text)
        raise


def find_speaker(forge: Forge, value: str | None, *, base: bool = False) -> Speaker:
    """Raises what `find_record` raises."""
    text = (value or "").strip()
    base = base or text.endswith(OF)
    record = find_record(forge, text.removesuffix(OF))
    value = f"{BASE}{record.base_model}" if is_untrained(record) else record.id
    base = base and not is_untrained(record)
    return Speaker(record, base, f"{value}{OF}" if base else value)


def offer(forge: Forge, chosen: str | None = None) -> Any:
    """The list with `chosen` selected, or the newest model whose files are all there, or the first base model."""
    records, bases = forge.models.all(), list_bases()
    choices = [*list_models(forge, records), *bases]
    typed = chosen is not None and current_caller().may_train and ("/" in chosen or "\\" in chosen)
    if chosen not in [value for _, value in choices] and not typed:
        whole = (each.id for each in records if not forge.models.find_problem(each))
        chosen = next(whole, next((value for _, value in bases), None))
    return gr.Dropdown(choices=choices, value=chosen, info=WHO if records else NO_MODEL)


def offer_base(name: str | None) -> str:
    """The value of a base model that is chosen on another tab. Raises what `find_untrained` raises."""
    return f"{BASE}{find_untrained(name or '').base_model}"


def offer_others(forge: Forge, chosen: str | None, *, base: bool) -> Any:
    """The list of whom to compare with: models that chat, and their base models; first that of the chosen one."""
    records = [each for each in forge.models.all() if each.architecture == DECODER.name]
    choices = []
    for label, value in list_models(forge, records):
        choices += [(label, value), (f"{label} (its base model)", f"{value}{OF}")]
    choices += [(label, value) for label, value in list_bases() if _is_decoder(value)]
    own = f"{chosen}{OF}" if chosen and not base else chosen
    values = [value for _, value in choices if value != (f"{chosen}{OF}" if base else chosen)]
    return gr.Dropdown(choices=choices, value=own if own in values else next(iter(values), None))


def list_models(forge: Forge, records: list[ModelRecord]) -> Choices:
    """(label, value) of finished models."""
    return [
        (
            f"{each.name}{' (files missing or damaged)' if forge.models.find_problem(each) else ''} · "
            f"{html.date(each.created)}",
            each.id,
        )
        for each in records
    ]


def list_bases() -> Choices:
    """(label, value) of base models that fit this machine and are on it or can be reached; none for who may only chat
    with one model."""
    if not current_caller().may_train:
        return []
    machine, known = hardware.detect(), {entry.id: entry for entry in catalog.entries()}
    names = dict.fromkeys(name for task in Task for name in catalog.recommended(machine, task))
    choices = []
    for name in names:
        here = find_here(name) is not None
        if here or name in starter.STARTERS or not hub.is_switched_off():
            where = "on this machine" if here else "to be downloaded"
            size = hardware.describe_parameters(known[name].parameters)
            choices.append((here, (f"Base model {name.rpartition('/')[2]} ({size}, {where})", f"{BASE}{name}")))
    return [choice for _, choice in sorted(choices, key=lambda each: not each[0])]


def _is_decoder(value: str) -> bool:
    entry = catalog.find(value.removeprefix(BASE))
    return entry is None or entry.architecture == DECODER.name
