"""The library of finished models: find, rename, delete; records and files go together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge, paths
from modelforge.cli import main
from modelforge.errors import NotFoundError, RecipeError
from modelforge.models.folder import read_manifest
from tests import tiny


def test_models_are_listed_the_newest_first_and_found_by_id_prefix_and_name(forge: Forge, tiny_base: Path) -> None:
    first, second = (tiny.finish_model(forge, tiny_base, name=name) for name in ("First", "Second one"))
    assert [record.id for record in forge.models.all()] == [second.id, first.id]
    for text in (first.id, first.id[:12], "First", f"  {first.id} "):
        assert forge.models.find(text).id == first.id
    assert forge.models["Second one"].record.id == second.id
    assert forge.models.path(second) == paths.model_dir(second.id)
    assert [record.id for record in Forge().models.all()] == [second.id, first.id]


@pytest.mark.parametrize("text", ["", "   ", "no such model", "model-000000000000", "; touch x", "../..", "a\0b"])
def test_audit_13_empty_or_unknown_model_gives_a_clear_message(forge: Forge, record: Any, text: str) -> None:
    for act in (forge.models.find, forge.models.delete, forge.models.card, lambda text: forge.models[text].chat("hi")):
        with pytest.raises(NotFoundError) as caught:
            act(text)
        assert caught.value.what and caught.value.fix
    assert forge.models.all() == [record]


def test_renaming_changes_record_and_manifest_and_moves_nothing(forge: Forge, record: Any) -> None:
    renamed = forge.models.rename(record.id, "  Größe   <b> ")
    assert renamed.name == "Größe <b>"
    assert read_manifest(record.id)["name"] == "Größe <b>"
    assert forge.models.path(renamed).exists()
    assert Forge().models.find("Größe <b>").id == record.id


@pytest.mark.parametrize("name", ["", "   ", "x" * 121])
def test_name_that_is_too_short_or_too_long_is_refused(forge: Forge, record: Any, name: str) -> None:
    with pytest.raises(RecipeError, match="between 1 and 120"):
        forge.models.rename(record.id, name)
    assert forge.models.rename(record.id, "x" * 120).name == "x" * 120


def test_renaming_a_model_whose_files_are_gone_changes_nothing(forge: Forge, record: Any) -> None:
    shutil.rmtree(paths.model_dir(record.id))
    with pytest.raises(NotFoundError):
        forge.models.rename(record.id, "Other")
    assert forge.models.find(record.id).name == record.name


def test_deleting_removes_record_and_files_and_nothing_else(forge: Forge, record: Any, tiny_base: Path) -> None:
    other = tiny.finish_model(forge, tiny_base, name="Other")
    assert forge.models.delete("Colours").id == record.id
    assert forge.models.all() == [other]
    assert [path.name for path in (paths.home() / "models").iterdir()] == [other.id]
    assert isinstance(forge.models[other.id].chat("hi"), str)


def test_model_whose_files_are_gone_can_still_be_deleted(forge: Forge, record: Any) -> None:
    shutil.rmtree(paths.model_dir(record.id))
    forge.models.delete(record.id)
    assert forge.models.all() == []


def test_fault_02_command_line_lists_and_deletes_a_model_without_its_files(
    record: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(paths.model_dir(record.id))
    assert main(["models", "list", "--json"]) == 0
    printed = capfd.readouterr()
    assert [row["id"] for row in json.loads(printed.out)] == [record.id]
    assert "missing" in printed.err and "delete the model" in printed.err
    assert main(["generate", record.id, "--prompt", "hi"]) == 1
    assert main(["models", "delete", record.id]) == 0
    assert Forge().models.all() == []


def test_audit_21_custom_base_model_true_and_false_survive_reopening(forge: Forge, record: Any) -> None:
    assert forge.models.find(record.id).custom_base_model is True
    forge.store.models.update(record.id, custom_base_model=False)
    assert Forge().models.find(record.id).custom_base_model is False


def test_card_is_made_of_the_manifest(forge: Forge, record: Any) -> None:
    assert "Colours" in forge.models.card(record.id)
