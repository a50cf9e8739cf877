"""Models on the Hub: what of them would be downloaded, and the download, in progress for as long as it takes.

Only files of the names that a model has: no code, no pickles. Who is not the owner of the app gets what is public.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelforge import paths
from modelforge.base_model.contents import weights_among
from modelforge.caller import current_caller
from modelforge.errors import HubError
from modelforge.hub_download import HubFile, Listing, Watch, fetch_files, list_files
from modelforge.models.folder import MANIFEST
from modelforge.models.hub import check_repo_id, limit_silence
from modelforge.models.hub_failures import Failures
from modelforge.models.hub_files import CARD, FORMS

_LARGEST_TEXT_BYTES = 100_000_000
_KEPT_SECONDS = 7 * 24 * 3600.0  # what has arrived of a download that nobody resumed
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".h5", ".msgpack")


@dataclass(frozen=True)
class Pull:
    """What would be downloaded. form: "adapter" or "merged"."""

    listing: Listing
    form: str
    files: tuple[HubFile, ...]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True)
class PullProgress:
    """How far a download is, in bytes. file: the current one, "" at the end."""

    file: str
    received: int
    total_bytes: int


def allowed_token() -> str | bool | None:
    """The token for a download: only the owner's own sign-in sees what is private."""
    caller = current_caller()
    return caller.hub_token if caller.is_owner else False


def find_model(repo_id: str) -> Pull:
    """The files of a model on the Hub, without downloading any. Raises HubError: it does not exist, is not a model, has
    its weights only in a format that can run code, cannot be reached."""
    with explain_download(repo_id := check_repo_id(repo_id)):
        listing = list_files(repo_id, "model", allowed_token())
    by_name = {file.name: file for file in listing.files if "/" not in file.name}
    form = "adapter" if "adapter_config.json" in by_name else "merged"
    names = FORMS[form]
    is_small = {name: file.bytes <= _LARGEST_TEXT_BYTES for name, file in by_name.items()}
    weights = [file for name, file in by_name.items() if names.weights.fullmatch(name)]
    others = [
        file
        for name, file in by_name.items()
        if is_small[name] and (names.others.fullmatch(name) or name in (CARD, MANIFEST))
    ]
    if not weights:
        raise explain_no_weights(repo_id, by_name)
    return Pull(listing, form, (*others, *weights))


def explain_no_weights(where: str, names: object) -> HubError:
    """Why there is nothing to load among files of these names."""
    listed = sorted(str(name) for name in names) if isinstance(names, dict | list) else []
    pickles = [name for name in listed if name.lower().endswith(_PICKLES)]
    if pickles:
        return HubError(
            f"Its weights are only in {pickles[0][:100]}, a format that can run code when it is opened.",
            where=where,
            fix="Choose a model that has .safetensors files.",
        )
    if any(name.endswith(".gguf") for name in listed):
        return HubError(
            "It has its weights only as GGUF, a format for inference that cannot be trained further.",
            where=where,
            fix="Choose the original model that it was converted from.",
        )
    others = weights_among(listed)
    what = f"Its weights are not named as those of a model: {others[0][:100]}." if others else "This is not a model."
    fix = (
        "A model has a config.json and model.safetensors, an adapter adapter_config.json and adapter_model.safetensors."
    )
    return HubError(what, where=where, fix=fix)


def fetch_model(pull: Pull, watch: Watch) -> Path:
    """The folder with the files of a model, in the cache until it is imported. Raises HubError, DiskFullError."""
    asked = (pull.listing.repo_id, pull.listing.commit, current_caller().id)
    place = paths.make_folder(paths.cache_dir() / "hub-models")
    folder = place / hashlib.sha256(repr(asked).encode()).hexdigest()[:16]
    for old in place.iterdir():
        if old != folder and old.stat().st_mtime < time.time() - _KEPT_SECONDS:
            shutil.rmtree(old, ignore_errors=True)
    with explain_download(pull.listing.repo_id):
        fetch_files(pull.listing, pull.files, folder, allowed_token(), watch)
    return folder


@contextmanager
def explain_download(repo_id: str) -> Iterator[None]:
    """What goes wrong with a download, as one HubError."""
    from huggingface_hub import constants, get_token

    token = allowed_token()
    with Failures(constants.ENDPOINT, repo_id, "Download") as failures:
        failures.token = token if isinstance(token, str) else get_token() or "" if token is None else ""
        limit_silence()
        yield
