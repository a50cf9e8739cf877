"""From the name of a base model to its files on this machine, and whether they can do what is asked of them.

A name is resolved in this order: a folder, a starter, the local Hub cache, the Hub. Safetensors only; code that comes
with a model is never run.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelforge import hardware, paths, starter
from modelforge.architecture import (
    ARCHITECTURES,
    DECODER,
    Architecture,
    add_article,
    describe_class,
    recognise,
)
from modelforge.errors import BaseModelError, DiskFullError
from modelforge.recipe import Task
from modelforge.tasks import TASKS

_WANTED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "*.txt"]


@dataclass(frozen=True)
class BaseModel:
    """A base model that is on this machine. `source` says in words where it was had from."""

    id: str
    folder: Path
    source: str


def resolve(name: str, task: Task | None = None) -> BaseModel:
    """Find a base model, fetching it if need be; one that cannot do `task` is refused before its weights are fetched.

    Raises BaseModelError, DownloadError or DiskFullError.
    """
    folder = _typed_folder(name)
    if folder:
        base = BaseModel(str(folder), _checked_folder(folder, name), f"folder {folder}")
    elif name in starter.STARTERS:
        base = BaseModel(name, starter.ensure(name), starter.STARTERS[name].source)
    else:
        _check_hub_id(name)
        if cached := _from_hub_cache(name):
            base = BaseModel(name, _checked_folder(cached, name), "the local Hub cache")
        else:
            base = BaseModel(name, _checked_folder(_download(name, task), name), "the Hugging Face Hub")
    if task:
        check_architecture(base, task)
    return base


def check(name: str, task: Task) -> Architecture | None:
    """Refuse at once what can be known to be wrong without fetching anything; gives the architecture if it is known."""
    folder = _typed_folder(name)
    if folder:
        return check_architecture(BaseModel(name, _checked_folder(folder, name), ""), task)
    if name in starter.STARTERS:
        fetched = starter.is_fetched(name)
        return check_architecture(BaseModel(name, starter.folder(name), ""), task) if fetched else None
    _check_hub_id(name)
    return None


def canonical(name: str) -> str:
    """The name as it is kept: a folder's absolute path, so that nothing depends on the current directory; or an id."""
    folder = _typed_folder(name)
    return str(folder) if folder else name


def architecture_of(base: BaseModel) -> Architecture:
    """What kind of model it is, read from its config. Raises BaseModelError for one that no task can use."""
    config = _read_config(base.folder, base.id)
    found, reason = recognise(config)
    if found is None:
        raise BaseModelError(
            f"{base.id} is a {describe_class(config)}, which {reason}.",
            where="setting base_model",
            fix=f"Choose another base model, for example {DECODER.example}.",
        )
    return found


def check_architecture(base: BaseModel, task: Task) -> Architecture:
    """Refuse, before any weights are loaded, an architecture that cannot do the task; else say which it is."""
    config = _read_config(base.folder, base.id)
    found, reason = recognise(config)
    suited = [ARCHITECTURES[name] for name in TASKS[task].architectures]
    if found in suited:
        return found
    choice = " or ".join(f"{add_article(each.name)} ({each.example})" for each in suited)
    raise BaseModelError(
        f"{base.id} is a {describe_class(config)}, which {reason}.",
        where="setting base_model",
        fix=f"For {task.value}, choose {choice}.",
    )


def _typed_folder(name: str) -> Path | None:
    path = paths.existing(name)
    return path if path and path.is_dir() else None


def _check_hub_id(name: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise BaseModelError(
            f"{name[:100]!r} is neither a folder on this machine nor a Hub id.",
            where="setting base_model",
            fix="A Hub id looks like owner/name, for example HuggingFaceTB/SmolLM2-135M-Instruct.",
        ) from error


def _checked_folder(folder: Path, name: str) -> Path:
    _read_config(folder, name)
    if not any(folder.glob("*.safetensors")):
        raise BaseModelError(
            f"{name} has no weights in safetensors format.",
            where=str(folder),
            fix="Other formats can run code when they are loaded; choose a model that has .safetensors files.",
        )
    return folder


def _read_config(folder: Path, name: str) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BaseModelError(
            f"{name} is not a model: it has no config.json.",
            where=str(folder),
            fix="Choose the folder that holds config.json and the .safetensors files.",
        ) from None
    except (OSError, ValueError) as error:
        raise BaseModelError(
            f"The config.json of {name} cannot be read.", where=str(path), fix="Fetch the model again."
        ) from error
    if not isinstance(config, dict):
        raise BaseModelError(
            f"The config.json of {name} is not an object.", where=str(path), fix="Fetch the model again."
        )
    return config


def _from_hub_cache(name: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=_WANTED, local_files_only=True))
    except (LocalEntryNotFoundError, FileNotFoundError):
        return None
    return folder if any(folder.glob("*.safetensors")) else None


def _download(name: str, task: Task | None) -> Path:
    """Fetch what is needed and nothing else, after asking whether it exists, is open, fits the task and the disk."""
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    where = "setting base_model"
    offline_fix = "Connect to the internet, or choose a starter model or a folder on this machine."
    if constants.HF_HUB_OFFLINE:
        raise BaseModelError(
            f"{name} is not on this machine and the Hub is switched off.", where=where, fix=offline_fix
        )
    try:
        info = HfApi().model_info(name, files_metadata=True)
        weights = [file for file in info.siblings or [] if file.rfilename.endswith(".safetensors")]
        if not weights:
            raise BaseModelError(
                f"{name} has no weights in safetensors format.", where=where, fix="Choose a model that has them."
            )
        if task:
            config = Path(snapshot_download(name, allow_patterns=["config.json"]))
            check_architecture(BaseModel(name, config, ""), task)
        needed = int(sum(file.size or 0 for file in weights) * 1.05)
        target = Path(constants.HF_HUB_CACHE)
        while not target.exists():
            target = target.parent
        free = shutil.disk_usage(target).free
        if needed > free:
            raise DiskFullError(needed=needed, free=free, where=str(target))
        return Path(snapshot_download(name, allow_patterns=_WANTED))
    except GatedRepoError as error:
        raise BaseModelError(
            f"{name} is gated.",
            where=where,
            fix=f"Ask for access at https://huggingface.co/{name} and sign in with `hf auth login`.",
        ) from error
    except RepositoryNotFoundError as error:
        raise BaseModelError(
            f"There is no model {name} on the Hub, or it is private.",
            where=where,
            fix="Check the spelling; for a private one sign in with `hf auth login`.",
        ) from error
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
        raise BaseModelError(
            f"{name} is not on this machine and the Hub cannot be reached.", where=where, fix=offline_fix
        ) from error
    except Exception as error:
        if type(error).__module__.split(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2"):
            raise BaseModelError(
                f"{name} is not on this machine and the Hub cannot be reached.", where=where, fix=offline_fix
            ) from error
        raise


def describe_size(folder: Path) -> str:
    """The weights' size on disk, in words."""
    return hardware.describe_bytes(sum(file.stat().st_size for file in folder.glob("*.safetensors")))
