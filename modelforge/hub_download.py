"""Files of a repository on the Hub: what is there, and each of them downloaded, resumed from where it stopped.

The Hub's own client removes a half of a file when it is interrupted, so this asks for the rest by HTTP ranges. Nothing
is downloaded that was not listed, nor more of it than was listed, and what the Hub has a hash of is checked.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from modelforge.errors import DownloadError, check_space
from modelforge.paths import make_folder
from modelforge.store.files import open_private

Kind = Literal["model", "dataset"]
_NAME = re.compile(r"(\w[\w.-]*/)*\w[\w.-]*")
_MOST_FILES = 10_000
_TRIES = 5  # in a row that bring nothing
_SECONDS = 30.0  # without a byte
_SPARE_BYTES = 50_000_000


@dataclass(frozen=True)
class HubFile:
    """sha256: "" for small files, of which the Hub has no such hash."""

    name: str
    bytes: int
    sha256: str = ""


@dataclass(frozen=True)
class Listing:
    """A repository at one commit."""

    repo_id: str
    kind: Kind
    commit: str
    files: tuple[HubFile, ...]


Watch = Callable[[int, int, str], None]
"""Called with the bytes that are there, those of all files, and the name of the current one; what it raises ends it."""


def list_files(repo_id: str, kind: Kind, token: str | bool | None) -> Listing:
    """What is in a repository. Raises what the Hub's client raises, and DownloadError for an answer that is not a
    Hub's.
    """
    from huggingface_hub import HfApi

    info = HfApi(token=token).repo_info(repo_id, repo_type=kind, files_metadata=True, timeout=_SECONDS)
    found = []
    for each in (getattr(info, "siblings", None) or ())[:_MOST_FILES]:
        lfs = each.lfs
        if each.size is not None and _NAME.fullmatch(each.rfilename):
            found.append(HubFile(each.rfilename, each.size, lfs.sha256 if lfs else ""))
    if not re.fullmatch(r"[0-9a-f]{40}", str(info.sha)):
        raise DownloadError("The server there is not a Hub.", where=repo_id, fix="Check HF_ENDPOINT.")
    return Listing(repo_id, kind, str(info.sha), tuple(found))


def fetch_files(
    listing: Listing, files: Iterable[HubFile], folder: Path, token: str | bool | None, watch: Watch
) -> list[Path]:
    """Download files of a listing into a folder; what is there already is not downloaded again. Returns their paths.

    Raises DiskFullError before the first byte, DownloadError for a file that is not as it was listed, and what the
    client raises once a connection brought nothing several times in a row.
    """
    wanted = list(files)
    make_folder(folder)
    total = sum(file.bytes for file in wanted)
    here = sum(min(_count_there(folder / file.name), file.bytes) for file in wanted)
    check_space(folder, total - here + _SPARE_BYTES)
    found, done = [], 0
    for file in wanted:
        note = partial(_note, watch, done, total, file.name)
        found.append(_fetch(listing, file, folder, token, note))
        done += file.bytes
    watch(total, total, "")
    return found


def _note(watch: Watch, before: int, total: int, name: str, here: int) -> None:
    watch(before + here, total, name)


def _fetch(
    listing: Listing, file: HubFile, folder: Path, token: str | bool | None, watch: Callable[[int], None]
) -> Path:
    import httpx2

    target = folder / file.name
    make_folder(target.parent)
    if target.is_file() and target.stat().st_size == file.bytes:
        return target
    part = _partial(target)
    part.touch()
    failed = 0
    while (here := part.stat().st_size) != file.bytes:
        watch(here)
        try:
            _receive(listing, file, part, token, watch)
        except (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError):
            failed = 0 if part.stat().st_size > here else failed + 1
            if failed == _TRIES:
                raise
            time.sleep(failed)
    if file.sha256 and _hash(part) != file.sha256:
        part.unlink()
        raise DownloadError(
            f"{file.name} arrived damaged.", where=listing.repo_id, fix="Download it again, from the beginning."
        )
    part.replace(target)
    return target


def _receive(
    listing: Listing, file: HubFile, part: Path, token: str | bool | None, watch: Callable[[int], None]
) -> None:
    """One request for what is missing."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

    here = part.stat().st_size
    url = hf_hub_url(listing.repo_id, file.name, repo_type=listing.kind, revision=listing.commit)
    headers = {**build_hf_headers(token=token), "Accept-Encoding": "identity"}  # ranges are of the file as it is
    if here:
        headers["Range"] = f"bytes={here}-"
    with get_session().stream("GET", url, headers=headers, timeout=_SECONDS) as answer:
        hf_raise_for_status(answer)
        if answer.status_code != 206:  # the whole file again
            here = 0
        with open_private(part, "ab" if here else "wb") as out:
            for piece in answer.iter_bytes():
                here += len(piece)
                if here > file.bytes:
                    raise DownloadError(
                        f"{file.name} is larger than the Hub listed: more than {file.bytes:,} bytes.",
                        where=listing.repo_id,
                        fix="Do not use it.",
                    )
                out.write(piece)
                watch(here)
    if here < file.bytes:
        import httpx2

        raise httpx2.RemoteProtocolError("the connection ended early")


def _partial(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _count_there(target: Path) -> int:
    """Bytes that have arrived."""
    return next((path.stat().st_size for path in (target, _partial(target)) if path.is_file()), 0)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
