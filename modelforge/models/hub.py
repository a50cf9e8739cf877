"""Pushing a finished model to the Hugging Face Hub, with the real huggingface_hub client.

It owns how a model is pushed: signed in, into a repository that is new or that somebody said yes to, as one commit,
with progress. `hub_files` has what is pushed, `hub_failures` explains failures, `card` writes the model card,
`transfers` does it in the background. A token is used for the calls made here and not stored.

huggingface_hub and its HTTP client are imported inside functions: they take 0.4 s, and most commands never push.
"""

from __future__ import annotations

import contextlib
import io
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modelforge.compat.huggingface_hub import check_card, hide_upload_notice, ignored_files
from modelforge.errors import HubError
from modelforge.models.hub_failures import SIGN_IN, Failures
from modelforge.models.hub_files import Source, count_bytes, list_files, read_contents, sum_up

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi

TIMEOUT_SECONDS = 60.0  # without a byte in either direction; the client's own default is to wait forever
CONNECT_TIMEOUT_SECONDS = 10.0

Step = Literal["creating", "uploading", "committing", "finished"]
Existing = Literal["refuse", "commit", "pull request"]
"""What to do where the repository exists."""
_TOKEN_IN_TEXT = re.compile(r"hf_\w{16,}")
_MESSAGE = "Push a model with ModelForge"


@dataclass(frozen=True)
class PushProgress:
    """How far a push is. All counts are bytes; what the Hub already has is not sent, and counts at the end.

    `file` is the current one, "" in other steps than uploading.
    """

    step: Step
    file: str
    sent: int
    total_bytes: int


@dataclass(frozen=True)
class PushResult:
    """Where the model is now. `note` says what differs from the request, "" if nothing does; `undo` how to undo it."""

    url: str
    files: tuple[str, ...]
    private: bool
    repo_id: str = ""
    note: str = ""
    undo: str = ""


@dataclass(frozen=True)
class Repository:
    """A repository that is pushed to. head: its newest commit, "" for one that is not there yet. files: their names."""

    id: str
    private: bool = True
    head: str = ""
    files: tuple[str, ...] = ()

    @property
    def exists(self) -> bool:
        return bool(self.head)


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


def find_repository(repo_id: str, *, token: str | None, endpoint: str | None = None) -> Repository:
    """The repository of that name as this token sees it. Changes nothing. Raises HubError, also for a token that may
    only read."""
    repo_id = check_repo_id(repo_id)
    with Failures(endpoint, repo_id) as failures:
        api = _sign_in(token, endpoint, failures)
        failures.repo_id = repo_id = _complete(repo_id, _check_token(api))
        return _find(api, repo_id)


def push(
    source: Source,
    repo_id: str,
    *,
    card: str,
    token: str | None,
    private: bool = True,
    existing: Existing = "refuse",
    seen: str = "",
    endpoint: str | None = None,
    progress: Callable[[PushProgress], None] = lambda _: None,
) -> PushResult:
    """Push a model as one commit, and create the repository if needed. Blocks until everything is uploaded.

    card: the README.md. token: None uses that of the hub login (HF_TOKEN, `hf auth login`). private: for a new
    repository; an existing one keeps its visibility, and the result's note says so if that differs. seen: the `sum_up`
    of the files that somebody has agreed to; other files are not sent. endpoint: None uses HF_ENDPOINT, else
    huggingface.co. progress: called from the threads that upload, one at a time; what it raises ends the push. Raises
    HubError. Pushing again after a failure resumes: large files that have arrived are not sent twice, and nothing is
    visible in the repository before everything is uploaded.
    """
    repo_id = check_repo_id(repo_id)
    if seen and seen != sum_up(list_files(source, card)):
        raise HubError(
            "The files have changed since you saw them.", where=source.folder.name, fix="Look at them again."
        )
    contents = read_contents(source, card)
    with Failures(endpoint, repo_id) as failures, contextlib.ExitStack() as opened:
        api = _sign_in(token, endpoint, failures)
        failures.repo_id = repo_id = _complete(repo_id, _check_token(api))
        meter = _Meter(progress, contents)
        operations = [meter.add(opened, name, contents[name]) for name in sorted(contents)]
        meter.tell("creating")
        check_card(api, card)
        before = _prepare(api, repo_id, private, existing)
        meter.tell("uploading")
        as_request = before.exists and existing == "pull request"
        with _without_library_output():
            api.preupload_lfs_files(repo_id, operations, create_pr=as_request, free_memory=False)
            meter.tell("committing")  # the last moment to cancel: from here on it is done or not
            commit = api.create_commit(
                repo_id,
                operations,
                commit_message=_MESSAGE,
                parent_commit=before.head or None,
                create_pr=as_request,
            )
        with contextlib.suppress(CancelledError):  # too late
            meter.tell("finished")
    return _describe(api, before, commit, operations, private)


def _describe(
    api: HfApi, before: Repository, commit: CommitInfo, operations: list[CommitOperationAdd], private: bool
) -> PushResult:
    """What was done. before: the repository as it was."""
    url, ignored, notes = f"{api.endpoint}/{before.id}", ignored_files(operations), []
    if before.exists and before.private != private:
        now, other = ("private", "public") if before.private else ("public", "private")
        notes.append(f"The repository exists and stays {now}; change it to {other} in its settings on the Hub.")
    if ignored:
        notes.append(f"The repository's .gitignore excluded {', '.join(ignored)}.")
    if commit.pr_url:
        undo = (
            f"Nothing in the repository changes until the pull request is merged. To undo it, close it: {commit.pr_url}"
        )
    elif not before.exists:
        undo = f"To undo it, delete the repository in its settings: {url}/settings"
    elif commit.oid == before.head:
        undo = ""
        notes.append("The repository had exactly these files already, so nothing changed.")
    else:
        undo = (
            f"It is one commit: {commit.commit_url} To undo it, run `git revert {commit.oid[:12]}` in a clone of the "
            f"repository and push that. How the repository was before: {url}/tree/{before.head}"
        )
    sent = tuple(each.path_in_repo for each in operations if each.path_in_repo not in ignored)
    return PushResult(commit.pr_url or url, sent, before.private, before.id, " ".join(notes), undo)


def _sign_in(token: str | None, endpoint: str | None, failures: Failures) -> HfApi:
    """The client with this token, or the hub login's for None."""
    from huggingface_hub import HfApi, get_token

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
    limit_silence()
    return api


def limit_silence() -> None:
    """Let no call of the Hub's client wait forever for an answer. The client is shared by the whole process: a limit
    that is already set stays."""
    from huggingface_hub import get_session

    session = get_session()
    if session.timeout.read is None:
        import httpx2

        session.timeout = httpx2.Timeout(TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS)


def _check_token(api: HfApi) -> str:
    """The name of whoever has the token. Raises HubError for one that may only read."""
    answer: object = api.whoami()
    name = answer.get("name") if isinstance(answer, dict) else None
    if not isinstance(answer, dict) or not isinstance(name, str):
        raise HubError("The server there is not a Hub.", where=api.endpoint, fix="Check HF_ENDPOINT.")
    role = ((answer.get("auth") or {}).get("accessToken") or {}).get("role")
    if role == "read":
        raise HubError(f"This token of {name} can only read.", where=api.endpoint, fix=f"{SIGN_IN}.")
    return name


def _complete(repo_id: str, name: str) -> str:
    return repo_id if "/" in repo_id else f"{name}/{repo_id}"


def _find(api: HfApi, repo_id: str) -> Repository:
    from huggingface_hub.errors import HfHubHTTPError

    try:
        info = api.model_info(repo_id)
    except HfHubHTTPError as error:
        if error.response.status_code not in (401, 403, 404):
            raise
        return Repository(repo_id)
    files = tuple(each.rfilename for each in info.siblings or ())
    return Repository(repo_id, bool(info.private), str(info.sha), files)


def _prepare(api: HfApi, repo_id: str, private: bool, existing: Existing) -> Repository:
    """The repository as it is before the push, created if needed. Raises HubError where it exists and may not."""
    from huggingface_hub.errors import HfHubHTTPError

    found = _find(api, repo_id)
    if not found.exists:  # creating it shows which it is: no permission, no such account, or no such repository
        try:
            api.create_repo(repo_id, private=private)
            return Repository(repo_id, private)
        except HfHubHTTPError as error:
            if error.response.status_code != 409:
                raise
            found = _find(api, repo_id)  # another push has just created it
    if existing == "refuse":
        raise HubError(
            f"The repository exists already, with {len(found.files)} files.",
            where=repo_id,
            fix="Choose another name, or agree to add one commit to it or to open a pull request.",
        )
    return found


class _Meter:
    """Counts the bytes of all files as the client reads them for sending, and reports them."""

    def __init__(self, progress: Callable[[PushProgress], None], contents: Mapping[str, Path | bytes]) -> None:
        self._progress = progress
        self._total = sum(count_bytes(each) for each in contents.values())
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
        file.report = lambda _: self.tell("creating")  # reading it for its hash can be cancelled too
        operation = CommitOperationAdd(path_in_repo=name, path_or_fileobj=file)
        file.report = lambda sent: self.tell("uploading", name, sent)
        return operation

    def tell(self, step: Step, file: str = "", sent: int = 0) -> None:
        with self._lock:
            if file:
                self._sent[file] = sent
            so_far = self._total if step in ("committing", "finished") else sum(self._sent.values())
            self._progress(PushProgress(step, file, so_far, self._total))


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
