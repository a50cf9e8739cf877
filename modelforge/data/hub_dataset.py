"""Downloads a dataset from the Hugging Face Hub into the cache as one Parquet file, which the readers then read.

A dataset that was downloaded once is available offline.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelforge import paths
from modelforge.caller import current_caller
from modelforge.errors import DatasetError, DownloadError, ModelForgeError, report_full_disk
from modelforge.hub_download import Watch, fetch_files, list_files
from modelforge.store.files import place_file
from modelforge.store.folders import unfinished

if TYPE_CHECKING:
    from datasets import DatasetBuilder

LONGEST_ID = 96
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)?")
_USUAL_SPLIT = "train"
_LISTED = 30


def looks_like_id(text: str) -> bool:
    """Whether a text can be the id of a dataset on the Hub: owner/name, or a single name."""
    return len(text) <= LONGEST_ID and bool(_ID.fullmatch(text))


def fetch(dataset_id: str, config: str | None = None, split: str | None = None, watch: Watch | None = None) -> Path:
    """The Parquet file of one split, downloaded unless its newest revision is in the cache.

    config and split: required where there are several; the default split is train. watch: told of the progress; what it
    raises ends the download, and what has arrived is kept for the next time. Raises DatasetError for a dataset
    that does not exist, is not accessible or needs a choice, DownloadError if the Hub cannot be reached and the dataset
    is not in the cache, DiskFullError.
    """
    from huggingface_hub import HfApi

    if not looks_like_id(dataset_id):
        fix = "Write it as the Hub shows it: owner/name."
        raise DatasetError("This is not the id of a dataset on the Hub.", where=dataset_id, fix=fix)
    folder = paths.make_folder(paths.cache_dir() / "hub-datasets")
    caller = current_caller()
    asked = (dataset_id, config, split) if caller.is_local else (dataset_id, config, split, caller.id)
    key = hashlib.sha256(repr(asked).encode()).hexdigest()[:16]  # what one person may read is not for others
    try:
        with _explain_errors(dataset_id):
            revision = str(HfApi(token=caller.hub_token).dataset_info(dataset_id, timeout=30).sha)
    except DownloadError:
        kept = sorted(folder.glob(f"{key}-*.parquet"), key=lambda path: path.stat().st_mtime)
        if kept:
            return kept[-1]
        raise
    target = folder / f"{key}-{revision[:16]}.parquet"
    if not target.exists():
        with unfinished(folder) as work, _explain_errors(dataset_id):
            arrived = folder / f"{key}-{revision[:16]}-files"
            watched = (arrived, watch) if watch else None
            place_file(_download(dataset_id, revision, config, split, work, watched=watched), target)
            shutil.rmtree(arrived, ignore_errors=True)
    return target


def count_bytes(dataset_id: str) -> int:
    """Of all files of a dataset on the Hub: no split is larger. Raises DatasetError, DownloadError."""
    if not looks_like_id(dataset_id):
        fix = "Write it as the Hub shows it: owner/name."
        raise DatasetError("This is not the id of a dataset on the Hub.", where=dataset_id, fix=fix)
    with _explain_errors(dataset_id):
        return sum(file.bytes for file in list_files(dataset_id, "dataset", current_caller().hub_token).files)


def _download(
    dataset_id: str,
    revision: str,
    config: str | None,
    split: str | None,
    work: Path,
    *,
    watched: tuple[Path, Watch] | None = None,
) -> Path:
    """Write the split as a Parquet file into the folder `work`, which also holds all temporary files. watched: a folder
    to download into first, which is kept, and who is told of the progress."""
    builder = _open_builder(dataset_id, revision, config, work)
    chosen = _choose_split(
        dataset_id, [str(name) for name in builder.config.data_files or builder.info.splits or ()], split
    )
    files = builder.config.data_files
    if files and chosen in files:  # otherwise all splits would be downloaded
        builder.config.data_files = type(files)({chosen: files[chosen]})
        if watched:
            here = _fetch_first(dataset_id, revision, files[chosen], *watched)
            builder.config.data_files = type(files)({chosen: here})
    builder.download_and_prepare(verification_mode="no_checks")
    target = work / "rows.parquet"
    builder.as_dataset(split=chosen).to_parquet(target)
    return target


def _fetch_first(dataset_id: str, revision: str, addresses: Any, folder: Path, watch: Watch) -> Any:
    """The same list of files, on this machine where the Hub said how large they are; `datasets` itself tells nobody how
    far it is, and begins each file again."""
    token = current_caller().hub_token
    listing = list_files(dataset_id, "dataset", token)
    by_address = {f"hf://datasets/{dataset_id}@{revision}/{file.name}": file for file in listing.files}
    if listing.commit != revision or not all(address in by_address for address in addresses):
        return addresses
    here = fetch_files(listing, [by_address[address] for address in addresses], folder, token, watch)
    return type(addresses)([str(path) for path in here], addresses.origin_metadata)


def _open_builder(dataset_id: str, revision: str, config: str | None, work: Path) -> DatasetBuilder:
    import datasets

    # With the scheme: otherwise a local folder of that name would be read.
    address, token = f"hf://datasets/{dataset_id}", current_caller().hub_token
    try:
        return datasets.load_dataset_builder(address, config, revision=revision, cache_dir=str(work), token=token)
    except ValueError as error:  # its message is not stable
        names = datasets.get_dataset_config_names(address, revision=revision, token=token)
        if config in names or (config is None and len(names) < 2):
            raise
        found = f"no configuration {config!r}" if config else "several configurations"
        raise DatasetError(
            f"This dataset has {found}. It has: {', '.join(names[:_LISTED])}{', ...' if len(names) > _LISTED else ''}.",
            where=dataset_id,
            fix="Set dataset_config to one of them.",
        ) from error


def _choose_split(dataset_id: str, names: list[str], wanted: str | None) -> str:
    if wanted is None and (len(names) == 1 or _USUAL_SPLIT in names):
        return _USUAL_SPLIT if _USUAL_SPLIT in names else names[0]
    if wanted is None or not set(re.findall(r"(?:^|\+)\s*([\w.-]+)", wanted)) <= set(names):
        found = f"no split {wanted!r}" if wanted else f"no split {_USUAL_SPLIT!r} and several others"
        fix = "Set dataset_split to one of them."
        raise DatasetError(f"This dataset has {found}. It has: {', '.join(names)}.", where=dataset_id, fix=fix)
    return wanted  # a name, or a slice in the syntax of `datasets`: train[:1000]


@contextmanager
def _explain_errors(dataset_id: str) -> Iterator[None]:
    """Turn what `datasets` and `huggingface_hub` raise into one sentence and a fix."""
    import httpx2
    from datasets.exceptions import DatasetNotFoundError, DatasetsError
    from huggingface_hub import errors as hub

    try:
        with report_full_disk(paths.cache_dir()):
            yield
    except ModelForgeError:
        raise
    except (hub.RepositoryNotFoundError, DatasetNotFoundError) as error:
        if isinstance(error, hub.GatedRepoError) or "is a gated dataset" in str(error):
            fix = f"Request access at https://huggingface.co/datasets/{dataset_id}, and sign in."
            raise DatasetError(
                "This dataset is gated, and you do not have access.", where=dataset_id, fix=fix
            ) from error
        fix = "Check the name. If it is private, sign in first."
        raise DatasetError("This dataset does not exist on the Hub.", where=dataset_id, fix=fix) from error
    except hub.OfflineModeIsEnabled as error:
        fix = "Unset HF_HUB_OFFLINE, or use a file."
        raise DownloadError("The Hub is switched off by HF_HUB_OFFLINE.", where=dataset_id, fix=fix) from error
    except (httpx2.TransportError, httpx2.InvalidURL, ConnectionError, hub.LocalEntryNotFoundError) as error:
        fix = "Check the network, or use a file."
        raise DownloadError("The Hugging Face Hub cannot be reached.", where=dataset_id, fix=fix) from error
    except hub.HfHubHTTPError as error:
        what = f"The Hugging Face Hub refused the request (status {error.response.status_code})."
        raise DownloadError(what, where=dataset_id, fix="Try again later, or sign in again.") from error
    except (DatasetsError, ValueError, RuntimeError, OSError) as error:
        reason = str(error.__cause__ or error).strip().split("\n", 1)[0]
        fix = "Download one of its files and use that."
        raise DatasetError(f"This dataset cannot be read: {reason}", where=dataset_id, fix=fix) from error
