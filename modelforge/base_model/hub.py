"""Base models on the Hugging Face Hub: what it knows of one without its weights, what is in the local cache, and
downloading."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from modelforge.base_model.config import CONFIG, MOST_BYTES, parse_config
from modelforge.base_model.contents import (
    SETTING,
    TOKENIZER_CONFIG,
    Contents,
    check_files,
    check_fit,
    has_chat_template,
    missing_shards,
    weights_among,
)
from modelforge.base_model.json_file import make_too_large, parse_object
from modelforge.caller import acting_as, current_caller
from modelforge.errors import BaseModelError, DiskFullError
from modelforge.recipe import Task

Result = TypeVar("Result")

ASK_SECONDS = 20.0  # before a download: the connection may be slow
_WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "*.txt")
_UNWANTED = ("*/*", "consolidated*", "adapter_*", "optimizer*")  # duplicate weights and other formats are in folders
_MOST_TOKENIZER_BYTES = 20_000_000
_OFFLINE_FIX = "Connect to the internet, or choose a starter model or a folder on this machine."
_SIGN_IN = "sign in with `hf auth login`"


class _OddAnswerError(Exception):
    """The answer is not one of a Hub."""


def check_id(name: str) -> None:
    """Refuse a name that is not a valid Hub id."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        fix = "A Hub id looks like owner/name, for example HuggingFaceTB/SmolLM2-135M-Instruct."
        if "huggingface.co/" in name:
            fix = f"Write only {'/'.join(name.partition('huggingface.co/')[2].split('/')[:2])[:100]}."
        raise BaseModelError(
            f"{name[:100]!r} is neither a folder on this machine nor a Hub id.", where=SETTING, fix=fix
        ) from error


def is_switched_off() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def make_switched_off(name: str) -> BaseModelError:
    return BaseModelError(
        f"{name} is not on this machine and the Hub is switched off by HF_HUB_OFFLINE.", where=SETTING, fix=_OFFLINE_FIX
    )


def find_cached(name: str) -> Path | None:
    """The folder of a model in the local Hub cache, if all of its weights are there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=list(_WANTED), local_files_only=True))
    except (LocalEntryNotFoundError, FileNotFoundError):
        return None
    files = [path.name for path in folder.iterdir() if path.is_file()]  # a broken link is not
    return folder if weights_among(files) and not missing_shards(folder, files) else None


def ask(name: str, *, seconds: float) -> Contents | None:
    """What the Hub knows about a model, in two or three small requests; None if it does not answer within `seconds`.

    Raises BaseModelError for one that does not exist, is not accessible, or has no safetensors or config.
    """
    return _within(seconds, lambda: _reach(name, lambda: _ask(name, seconds)))


def check_readable(name: str) -> None:
    """Refuse a model in the local cache that this person could not download: it came with this machine's login."""
    if is_switched_off() or ask(name, seconds=ASK_SECONDS) is None:
        raise BaseModelError(
            f"The Hub cannot be asked whether {name} is public.", where=SETTING, fix="Choose a model of the list."
        )


def fetch(name: str, task: Task | None, meanwhile: Callable[[], None] = lambda: None) -> Path:
    """Download only what is needed, after checking that it exists, is accessible, and fits the task and the disk.

    meanwhile: called for each piece that arrives; what it raises ends the download, and what has come is kept.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    unreachable = BaseModelError(
        f"{name} is not on this machine and the Hub cannot be reached.", where=SETTING, fix=_OFFLINE_FIX
    )
    if is_switched_off():
        raise make_switched_off(name)
    contents = ask(name, seconds=ASK_SECONDS)
    if contents is None:
        raise unreachable
    if task:
        check_fit(contents, task)
    check_disk(contents)

    class Progress(tqdm):
        def update(self, n: Any = 1) -> Any:
            meanwhile()
            return super().update(n)

    def download() -> Path:
        with _client():
            wanted: dict[str, Any] = {"allow_patterns": list(_WANTED), "ignore_patterns": list(_UNWANTED)}
            return Path(snapshot_download(name, **wanted, tqdm_class=Progress, token=current_caller().hub_token))

    folder = _reach(name, download)
    if folder is None:
        raise unreachable
    return folder


def check_disk(contents: Contents) -> None:
    """Refuse a model that does not fit on the drive of the Hub cache. Raises DiskFullError."""
    from huggingface_hub import constants

    needed = int(contents.weight_bytes * 1.05)
    target = Path(constants.HF_HUB_CACHE)
    while not target.exists():
        target = target.parent
    free = shutil.disk_usage(target).free
    if needed > free:
        raise DiskFullError(needed=needed, free=free, where=str(target))


def _ask(name: str, seconds: float) -> Contents:
    from huggingface_hub import HfApi

    with _client():
        info = HfApi(token=current_caller().hub_token).model_info(name, files_metadata=True, timeout=seconds)
    files = {each.rfilename: each.size or 0 for each in info.siblings or [] if "/" not in each.rfilename}
    check_files(files, name, SETTING)
    weight_bytes = sum(files[each] for each in weights_among(files))
    config = parse_config(_read(name, CONFIG, files, seconds, MOST_BYTES), name, SETTING, weight_bytes)
    has_template = has_chat_template(files, {})
    if not has_template and TOKENIZER_CONFIG in files:
        content = _read(name, TOKENIZER_CONFIG, files, seconds, _MOST_TOKENIZER_BYTES)
        has_template = has_chat_template(files, parse_object(content, TOKENIZER_CONFIG, name, SETTING))
    return Contents(
        id=name,
        where=SETTING,
        config=config,
        files=files,
        has_chat_template=has_template,
        parameters=info.safetensors.total if info.safetensors else 0,
        gated=bool(info.gated),
    )


def _read(name: str, file: str, files: dict[str, int], seconds: float, most_bytes: int) -> bytes:
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

    if files[file] > most_bytes:
        raise make_too_large(file, name, SETTING, most_bytes)
    headers = build_hf_headers(token=current_caller().hub_token)
    answer = get_session().get(hf_hub_url(name, file), headers=headers, timeout=seconds)
    hf_raise_for_status(answer)
    return bytes(answer.content)


def _reach(name: str, call: Callable[[], Result]) -> Result | None:
    """The call's result; None if the Hub cannot be reached or fails. What it refuses is raised as a BaseModelError."""
    from httpx2 import HTTPError, InvalidURL
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    try:
        return call()
    except GatedRepoError as error:
        raise BaseModelError(
            f"{name} is gated: its owner grants access to each user.",
            where=SETTING,
            fix=f"Request access at https://huggingface.co/{name} and {_SIGN_IN}.",
        ) from error
    except RepositoryNotFoundError as error:
        raise BaseModelError(
            f"There is no model {name} on the Hub, or it is private.",
            where=SETTING,
            fix=f"Check the spelling. For a private model, {_SIGN_IN}.",
        ) from error
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code == 401:
            raise BaseModelError(
                "The Hub does not accept the token that this machine is signed in with.",
                where=SETTING,
                fix="Sign in again with `hf auth login`, or sign out with `hf auth logout`.",
            ) from error
        return None
    except (HTTPError, InvalidURL, OSError, _OddAnswerError):
        return None


@contextlib.contextmanager
def _client() -> Iterator[None]:
    """Around calls of the Hub's client: what answers may not be a Hub (a hotel's sign-in page), and the client does not
    check it."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except HfHubHTTPError:  # one of them is a ValueError too
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise _OddAnswerError from error


def _within(seconds: float, call: Callable[[], Result]) -> Result | None:
    """The call's result, or None after that many seconds: a client's own timeouts stop neither a DNS server that does
    not answer nor a server that sends a byte now and then."""
    outcome: Future[Result | None] = Future()
    caller = current_caller()

    def run() -> None:
        try:
            with acting_as(caller):
                outcome.set_result(call())
        except Exception as error:  # noqa: BLE001 - raised again by the thread that waits
            outcome.set_exception(error)

    threading.Thread(target=run, name="ask the Hub", daemon=True).start()
    try:
        return outcome.result(seconds)
    except TimeoutError:
        return None
