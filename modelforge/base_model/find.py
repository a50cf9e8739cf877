"""From the name of a base model to its files on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modelforge import catalog, paths, starter
from modelforge.architecture import ARCHITECTURES, Architecture, add_article
from modelforge.base_model import hub
from modelforge.base_model.config import read_config
from modelforge.base_model.contents import check_fit, make_refusal, read_folder, recognise_for
from modelforge.caller import current_caller
from modelforge.recipe import Task
from modelforge.tasks import TASKS


@dataclass(frozen=True)
class BaseModel:
    """A base model on this machine. source: where it came from, in words."""

    id: str
    folder: Path
    source: str


def resolve(name: str, task: Task | None = None, meanwhile: Callable[[], None] = lambda: None) -> BaseModel:
    """Find a base model and download it if necessary; one that does not suit `task` is refused before the download.

    meanwhile: called often during a download; what it raises ends it. Raises BaseModelError, DownloadError or
    DiskFullError.
    """
    base = find_here(name)
    if base is None and task:
        check_listed(name, task)
    if base is None and name in starter.STARTERS:
        base = BaseModel(name, starter.ensure(name, meanwhile), starter.STARTERS[name].source)
    if base is None:
        base = BaseModel(name, hub.fetch(name, task, meanwhile), "the Hugging Face Hub")
    contents = read_folder(base.folder, name)
    if task:
        check_fit(contents, task)
    return base


def find_here(name: str) -> BaseModel | None:
    """A base model whose weights are already on this machine; None for any other starter or Hub id.

    Raises BaseModelError for a name that is neither a folder nor an id.
    """
    if folder := _typed_folder(name):
        return BaseModel(str(folder), folder, f"folder {folder}")
    if name in starter.STARTERS:
        here = starter.is_fetched(name)
        return BaseModel(name, starter.folder(name), starter.STARTERS[name].source) if here else None
    hub.check_id(name)
    cached = hub.find_cached(name)
    if cached and not current_caller().is_local and not catalog.find(name):
        hub.check_readable(name)
    return BaseModel(name, cached, "the local Hub cache") if cached else None


def check_listed(name: str, task: Task) -> catalog.Entry | None:
    """The catalogue's entry of a base model; refuses one made for another task, without asking the Hub."""
    listed = catalog.find(name)
    if listed and listed.architecture not in TASKS[task].architectures:
        kind = ARCHITECTURES[listed.architecture]
        raise make_refusal(f"{name} is {add_article(kind.name)}, which {kind.sentence}.", task)
    return listed


def canonical(name: str) -> str:
    """The name as it is stored: a folder's absolute path, which does not depend on the current directory, or an id."""
    folder = _typed_folder(name)
    return str(folder) if folder else name


def architecture_of(base: BaseModel, task: Task | None = None) -> Architecture:
    """Its architecture, by its config. Raises BaseModelError for one that does not suit the task, or any task."""
    return recognise_for(task, read_config(base.folder, base.id), base.id)


def _typed_folder(name: str) -> Path | None:
    path = paths.existing(name) if current_caller().is_local else None  # from afar nobody names a folder
    return path if path and path.is_dir() else None
