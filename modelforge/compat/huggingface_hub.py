"""huggingface_hub: which files a commit left out, a card checked before large files are sent, a file downloaded on from
where it stopped, and a notice of the client that is kept off the terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any


def ignored_files(operations: Iterable[Any]) -> list[str]:
    """The names of files that a commit left out because of a .gitignore in the repository.

    The client notes it on the operation, and its public result does not tell it.
    """
    return [each.path_in_repo for each in operations if each._should_ignore]


def check_card(api: Any, card: str) -> None:
    """Let the Hub check a model card. `create_commit` does that too, but only after large files were uploaded apart
    from it; the public `RepoCard.validate` knows no other Hub than huggingface.co. Raises ValueError."""
    api._validate_yaml(card, repo_type="model")


def hide_upload_notice() -> None:
    """Keep the warning that file objects are not sent by hf_xet off the terminal. A filter has no effect on the loggers
    below the one that it is added to, so it goes to the private module's own."""
    logging.getLogger("huggingface_hub._commit_api").addFilter(_is_worth_showing)  # adding it again has no effect


def _is_worth_showing(record: logging.LogRecord) -> bool:
    return "binary IO buffer is not supported by Xet" not in record.getMessage()
