from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def isolated_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("MODELFORGE_HOME", str(home))
    return home


@pytest.fixture
def write_file(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def write_jsonl(write_file: Callable[[str, str | bytes], Path]) -> Callable[[Iterable[Any]], Path]:
    def write(rows: Iterable[Any]) -> Path:
        return write_file("rows.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    return write
