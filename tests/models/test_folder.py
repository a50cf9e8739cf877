"""A model's folder appears whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model

from modelforge import paths
from modelforge.errors import DiskFullError, NotFoundError
from modelforge.models.folder import MANIFEST, read_manifest, save_model, write_manifest
from tests import tiny

PARTS: dict[str, Any] = {"recipe": {}, "dataset": {}}  # what every manifest has


@pytest.fixture(scope="module")
def tuned() -> Any:
    return get_peft_model(tiny.model(), LoraConfig(r=2, target_modules="all-linear"))


def models() -> list[str]:
    folder = paths.home() / "models"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_folder_holds_adapter_tokenizer_template_and_manifest_and_no_weights_of_the_base(tuned: Any) -> None:
    model_id = save_model(tuned, tiny.tokenizer(), {"name": "Größe", **PARTS})
    found = {path.name for path in paths.model_dir(model_id).iterdir()}
    assert {
        "adapter_config.json",
        "adapter_model.safetensors",
        "tokenizer.json",
        "chat_template.jinja",
        MANIFEST,
    } <= found
    assert not found & {"README.md", "model.safetensors"}
    assert not [name for name in found if name.endswith((".bin", ".pt", ".pkl"))]
    assert read_manifest(model_id) == {"id": model_id, "owner": "", "name": "Größe", **PARTS}


def test_audit_18_failure_while_saving_leaves_nothing(tuned: Any) -> None:
    class BrokenTokenizer:
        def save_pretrained(self, folder: Path) -> None:
            assert (folder / "adapter_model.safetensors").exists()
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        save_model(tuned, BrokenTokenizer(), {})
    with pytest.raises(TypeError):
        save_model(tuned, tiny.tokenizer(), {"not": object()})
    assert models() == []


def test_audit_17_too_little_space_is_refused_before_writing(tuned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=1, used=1, free=1000))
    monkeypatch.setattr(type(tuned), "save_pretrained", lambda *_, **__: pytest.fail("written"))
    with pytest.raises(DiskFullError) as caught:
        save_model(tuned, tiny.tokenizer(), {})
    assert caught.value.free == 1000 and caught.value.needed > 50_000_000
    assert models() == []


@pytest.mark.parametrize("damage", ["gone", "", "{", "\xff", "[]", '{"recipe": {}}', '{"recipe": {}, "dataset": []}'])
def test_fault_02_folder_without_a_whole_manifest_is_no_model(tuned: Any, damage: str) -> None:
    model_id = save_model(tuned, tiny.tokenizer(), PARTS)
    manifest = paths.model_dir(model_id) / MANIFEST
    manifest.unlink() if damage == "gone" else manifest.write_bytes(damage.encode("latin-1"))
    with pytest.raises(NotFoundError) as caught:
        read_manifest(model_id)
    assert model_id in caught.value.what and "delete the model" in caught.value.fix


def test_audit_15_manifest_is_written_where_it_belongs(tuned: Any) -> None:
    model_id = save_model(tuned, tiny.tokenizer(), {"name": "one"})
    before = {path.name for path in paths.model_dir(model_id).iterdir()}
    write_manifest(model_id, {"id": model_id, "name": "two"})
    assert json.loads((paths.model_dir(model_id) / MANIFEST).read_text()) == {"id": model_id, "name": "two"}
    assert {path.name for path in paths.model_dir(model_id).iterdir()} == before
