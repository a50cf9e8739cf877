"""Pushing a finished model to the Hugging Face Hub, with the real huggingface_hub client.

It owns what is pushed (an exact list of names, without the paths of this machine) and how (one commit, with
progress). `hub_failures` explains failures, `card` writes the model card. A token is used for the calls made here and
not stored.

huggingface_hub and its HTTP client are imported inside functions: they take 0.4 s, and most commands never push.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modelforge.compat.huggingface_hub import hide_upload_notice, ignored_files
from modelforge.errors import HubError
from modelforge.models.card import is_local_path, model_card, public_manifest
from modelforge.models.folder import MANIFEST
from modelforge.models.hub_failures import SIGN_IN, Failures

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

CARD = "README.md"
TIMEOUT_SECONDS = 60.0  # without a byte in either direction; the client's own default is to wait forever
CONNECT_TIMEOUT_SECONDS = 10.0

# Only what is needed to load the model and to know its origin. Names, not endings: a training folder also has
# optimizer.safetensors and trainer_state.json.
_PUSHED = re.compile(
    r"(adapter_model|model)(-\d{5}-of-\d{5})?\.safetensors"
    r"|(adapter_model|model)\.safetensors\.index\.json"
    r"|(adapter_config|config|generation_config|processor_config|preprocessor_config|modelforge)\.json"
    r"|(tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json"
    r"|(vocab|merges)\.txt|(tokenizer|spiece|sentencepiece\.bpe)\.model"
    r"|[a-z_]+\.jinja"
)
_PATH_KEYS = ("base_model_name_or_path", "name_or_path", "_name_or_path", "tokenizer_file", "vocab_file", "merges_file")
_TOKEN_IN_TEXT = re.compile(r"hf_\w{16,}")
_PICK_ANOTHER = "Train it again, or pick another model."


@dataclass(frozen=True)
class PushFile:
    """A file as it is pushed: its name in the repository and its size in bytes."""

    name: str
    bytes: int


@dataclass(frozen=True)
class PushProgress:
    """How far a push is. All counts are bytes; what the Hub already has is not sent, and counts at the end.

    `file` is the current one, "" while creating and when finished.
    """

    step: Literal["creating", "uploading", "finished"]
    file: str
    sent: int
    total_bytes: int


@dataclass(frozen=True)
class PushResult:
    """Where the model is now. `note` says what differs from the request, "" if nothing does."""

    url: str
    files: tuple[str, ...]
    private: bool
    note: str = ""


def files_to_push(folder: Path, card: str | None = None) -> tuple[PushFile, ...]:
    """Exactly what `push` sends from this model's folder, by name. card: None makes it from the manifest."""
    weights, texts = _contents(folder, card)
    sizes = {name: path.stat().st_size for name, path in weights.items()}
    sizes |= {name: len(content) for name, content in texts.items()}
    return tuple(PushFile(name, sizes[name]) for name in sorted(sizes))


def read_public_files(folder: Path) -> dict[str, Path | bytes]:
    """What `push` sends, with its contents: paths of weights, and the public contents of everything else. Raises
    HubError."""
    weights, texts = _contents(folder, None)
    return {**weights, **texts}


def check_repo_id(text: str) -> str:
    """The repository's name without surrounding blanks: ``user/name``, or ``name`` in the user's account.

    Raises HubError if it is not a valid name.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    repo_id = text.strip()
    where = "repository name"
    if not repo_id:
        raise HubError("The repository name is missing.", where=where, fix="Write it as user/name.")
    if _TOKEN_IN_TEXT.search(repo_id):
        raise HubError("This is a token, not a repository name.", where=where, fix="Write the name as user/name.")
    fix = "Write it as user/name, with letters, digits, - _ and . only, at most 96 in each part."
    if "huggingface.co" in repo_id or "://" in repo_id:
        raise HubError(f"{repo_id!r} is a web address.", where=where, fix="Write only the end, as user/name.")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise HubError(f"{repo_id!r} is not a valid repository name.", where=where, fix=fix) from error
    return repo_id


def push(
    folder: Path,
    repo_id: str,
    *,
    card: str,
    token: str | None,
    private: bool = True,
    endpoint: str | None = None,
    progress: Callable[[PushProgress], None] = lambda _: None,
) -> PushResult:
    """Push a model's folder as one commit, and create the repository if needed. Blocks until everything is uploaded.

    card: the README.md. token: None uses that of the hub login (HF_TOKEN, `hf auth login`). private: for a new
    repository; an existing one keeps its visibility, and the result's note says so if that differs.
    endpoint: None uses HF_ENDPOINT, else huggingface.co. progress: called from the threads that upload, one at a time.
    Raises HubError. Pushing again after a failure resumes: large files that have arrived are not sent
    twice, and nothing is visible in the repository before everything is uploaded.
    """
    repo_id = check_repo_id(repo_id)
    weights, texts = _contents(folder, card)
    with Failures(endpoint, repo_id) as failures, contextlib.ExitStack() as opened:
        api = _sign_in(token, endpoint, failures)
        if "/" not in repo_id:
            failures.repo_id = repo_id = f"{_user_name(api)}/{repo_id}"
        meter = _Meter(progress)
        sources: dict[str, Path | bytes] = {**weights, **texts}
        operations = [meter.add(opened, name, sources[name]) for name in sorted(sources)]
        meter.tell("creating")
        is_private = _prepare_repo(api, repo_id, private)
        meter.tell("uploading")
        with _without_library_output():
            api.create_commit(repo_id, operations, commit_message="Push a model with ModelForge")
        ignored = ignored_files(operations)
        meter.tell("finished")
    notes = []
    if is_private != private:
        now, other = ("private", "public") if is_private else ("public", "private")
        notes.append(f"The repository exists and stays {now}; change it to {other} in its settings on the Hub.")
    if ignored:
        notes.append(f"The repository's .gitignore excluded {', '.join(ignored)}.")
    files = tuple(each.path_in_repo for each in operations if each.path_in_repo not in ignored)
    return PushResult(f"{api.endpoint}/{repo_id}", files, is_private, " ".join(notes))


def _contents(folder: Path, card: str | None) -> tuple[dict[str, Path], dict[str, bytes]]:
    """What is pushed: the paths of weights, which are large, and the public contents of everything else."""
    where = folder.name
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(manifest, dict):
            raise TypeError("not an object")
        # No links: they could include a file from anywhere.
        found = {path.name: path for path in folder.iterdir() if path.is_file() and not path.is_symlink()}
        weights: dict[str, Path] = {}
        texts: dict[str, bytes] = {}
        for name in filter(_PUSHED.fullmatch, found):
            if name.endswith(".safetensors"):
                weights[name] = found[name]
            else:
                texts[name] = _public(name, found[name].read_bytes(), manifest)
    except (OSError, ValueError, TypeError) as error:
        raise HubError("This model's folder cannot be read.", where=where, fix=_PICK_ANOTHER) from error
    if not weights:
        raise HubError("This model has no weights in its folder.", where=where, fix=_PICK_ANOTHER)
    texts[CARD] = (model_card(manifest) if card is None else card).encode("utf-8", errors="replace")
    return weights, texts


def _public(name: str, content: bytes, manifest: Mapping[str, Any]) -> bytes:
    """A file's content without the paths of this machine; unchanged if there are none."""
    if name == MANIFEST:
        return _json(public_manifest(manifest))
    if not name.endswith("config.json"):
        return content
    config = json.loads(content)
    if not isinstance(config, dict):
        raise TypeError(f"{name} is not an object")
    base = public_manifest(manifest).get("base_model")
    public = dict(config)
    for key in _PATH_KEYS:
        if isinstance(value := config.get(key), str) and value and is_local_path(value):
            public[key] = base if base and not key.endswith("_file") else None
    return content if public == config else _json(public)


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8", errors="replace")


def _sign_in(token: str | None, endpoint: str | None, failures: Failures) -> HfApi:
    """The client with this token, or the hub login's for None."""
    from huggingface_hub import HfApi, get_session, get_token

    chosen = (get_token() if token is None else token) or ""
    failures.token = chosen = chosen.strip()
    if not chosen:
        raise HubError(
            "You are not signed in to the Hugging Face Hub.", fix=f"{SIGN_IN}, set HF_TOKEN, or run `hf auth login`."
        )
    if not re.fullmatch(r"[!-~]+", chosen):  # the HTTP client's own message would show it
        raise HubError("This is not a token: it contains blanks or special characters.", fix=f"{SIGN_IN}.")
    api = HfApi(endpoint=endpoint.rstrip("/") if endpoint else None, token=chosen, library_name="modelforge")
    failures.endpoint = api.endpoint
    session = get_session()  # shared by the whole process: a limit that is already set stays
    if session.timeout.read is None:
        import httpx2

        session.timeout = httpx2.Timeout(TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS)
    return api


def _user_name(api: HfApi) -> str:
    answer: object = api.whoami()
    name = answer.get("name") if isinstance(answer, dict) else None
    if not isinstance(name, str):
        raise HubError("The server there is not a Hub.", where=api.endpoint, fix="Check HF_ENDPOINT.")
    return name


def _prepare_repo(api: HfApi, repo_id: str, private: bool) -> bool:
    """Create the repository if needed; returns whether it is private."""
    from huggingface_hub.errors import HfHubHTTPError

    there = None
    try:
        there = api.model_info(repo_id)
    except HfHubHTTPError as error:
        if error.response.status_code not in (401, 403, 404):
            raise
    if there is None:  # creating it shows which it is: a wrong token, no permission, or no such repository
        try:
            api.create_repo(repo_id, private=private)
        except HfHubHTTPError as error:
            if error.response.status_code != 409:
                raise
            there = api.model_info(repo_id)  # another push has just created it
    return private if there is None or there.private is None else there.private


class _Meter:
    """Counts the bytes of all files as the client reads them for sending, and reports them."""

    def __init__(self, progress: Callable[[PushProgress], None]) -> None:
        self._progress = progress
        self._sizes: dict[str, int] = {}
        self._sent: dict[str, int] = {}
        self._lock = threading.Lock()

    def add(self, opened: contextlib.ExitStack, name: str, source: Path | bytes) -> CommitOperationAdd:
        """The file as an operation for the client.

        A file object, not bytes or a path: its reads are the only sign of progress that the client's public
        interface gives. With a file object the client uploads by HTTP and not by hf_xet's protocol, which not every
        Hub-like server has.
        """
        from huggingface_hub import CommitOperationAdd

        raw = io.BytesIO(source) if isinstance(source, bytes) else opened.enter_context(source.open("rb", buffering=0))
        file = opened.enter_context(_MeteredFile(raw))
        operation = CommitOperationAdd(path_in_repo=name, path_or_fileobj=file)  # reads all of it, for its hash
        self._sizes[name], self._sent[name] = operation.upload_info.size, 0
        file.report = lambda sent: self.tell("uploading", name, sent)
        return operation

    def tell(self, step: Literal["creating", "uploading", "finished"], file: str = "", sent: int = 0) -> None:
        with self._lock:
            if file:
                self._sent[file] = sent
            total = sum(self._sizes.values())
            so_far = total if step == "finished" else sum(self._sent.values())
            self._progress(PushProgress(step, file, so_far, total))


class _MeteredFile(io.BufferedReader):
    """A file that reports how far it was read; reads without a size are not for sending."""

    report: Callable[[int], None] | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        if self.report and size is not None and size > 0:
            self.report(self.tell())
        return content


@contextlib.contextmanager
def _without_library_output() -> Iterator[None]:
    """Keep the client's progress bars and its notice about hf_xet (see _Meter.add) off the terminal."""
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    hide_upload_notice()
    with disable_progress_bars():
        yield
