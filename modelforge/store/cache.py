"""Small JSON files in the cache: what was measured once. They can always be made again, so no error here is one."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from modelforge import paths
from modelforge.errors import DiskFullError, StoreError
from modelforge.store.files import save_file

log = logging.getLogger("modelforge")


def read_cache(name: str) -> dict[str, Any]:
    """A JSON object in the cache; empty if there is none or it is damaged."""
    try:
        found = json.loads((paths.cache_dir() / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_cache(name: str, values: Mapping[str, Any]) -> None:
    """Replace the file at once, so that no reader sees half of it. Where that is not possible it stays as it is."""
    try:
        save_file(paths.cache_dir() / name, json.dumps(values).encode())
    except (StoreError, DiskFullError) as error:
        log.warning("%s is not kept: %s", name, error)
