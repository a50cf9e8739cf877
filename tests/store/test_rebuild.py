"""A registry that is lost with its backup is built again from the folders, and it is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge, paths
from modelforge.recipe import Task
from modelforge.store import ModelRecord, Store
from tests import tiny

MakeModel = Callable[..., ModelRecord]


def write_folder(path: Path, model: ModelRecord, **changes: Any) -> Path:
    """The folder of a model beside the registry, as `models/folder.py` writes it."""
    folder = path.parent / "models" / model.id
    folder.mkdir(parents=True, exist_ok=True)
    facts = model.model_dump(exclude={"dataset_id", "dataset_name", "files_missing_from"})
    manifest = {**facts, "dataset": {"id": model.dataset_id, "name": model.dataset_name}, "recipe": {}, **changes}
    (folder / "modelforge.json").write_text(json.dumps(manifest))
    return folder


def lose(path: Path, how: str) -> None:
    for file in (path, path.with_name("modelforge.json.bak")):
        if how == "gone":
            file.unlink(missing_ok=True)
        elif how == "cut":
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        else:
            file.write_bytes(b"")


@pytest.mark.parametrize("how", ["gone", "cut", "empty"])
@pytest.mark.parametrize("is_open", [True, False], ids=["while open", "at the next start"])
def test_a_registry_lost_with_its_backup_is_rebuilt_from_the_folders_and_it_is_said(
    path: Path, make_model: MakeModel, how: str, is_open: bool
) -> None:
    store = Store(path)
    models = [make_model(name=f"model {number}", custom_base_model=number == 1) for number in range(3)]
    for model in models:
        write_folder(path, model)
        store.models.add(model)
    lose(path, how)
    if is_open:
        store.close()
    store = store if is_open else Store(path)
    assert store.models.all() == models[::-1]
    assert "The registry was rebuilt from the folders: 3 models." in store.message
    assert "list of runs is lost" in store.message
    again = Store(path)
    assert again.models.all() == models[::-1] and again.message == ""


def test_audit_21_custom_base_model_survives_the_loss_of_the_registry(path: Path, make_model: MakeModel) -> None:
    for custom in (True, False):
        write_folder(path, make_model(name=str(custom), custom_base_model=custom))
    assert {model.name: model.custom_base_model for model in Store(path).models.all()} == {"True": True, "False": False}


def test_what_the_backup_lacks_is_added_from_its_folder_and_deleted_ones_stay_deleted(
    path: Path, make_model: MakeModel
) -> None:
    store = Store(path)
    first, last = make_model(name="first"), make_model(name="last")
    store.models.add(first)
    store.models.add(last)  # the backup does not know of it
    write_folder(path, last)
    path.write_bytes(b"damaged")
    opened = Store(path)
    assert opened.models.all() == [last, first]
    assert "Its backup was loaded" in opened.message
    assert "Restored from their folders: 1 model." in opened.message
    path.write_bytes(b"damaged again")
    assert Store(path).models.count() == 2


@pytest.mark.parametrize(
    "manifest", [b"", b"[]", b"\xff", b"{}", b'{"dataset": 1}', b'{"dataset": {"id": 1, "name": 2}}', b"[" * 100_000]
)
def test_manifests_that_tell_nothing_are_counted_and_left(path: Path, make_model: MakeModel, manifest: bytes) -> None:
    good = make_model()
    write_folder(path, good)
    spoiled = write_folder(path, make_model())
    (spoiled / "modelforge.json").write_bytes(manifest)
    store = Store(path)
    assert store.models.all() == [good]
    assert "1 of them cannot be read" in store.message
    assert (spoiled / "modelforge.json").read_bytes() == manifest


def test_when_no_manifest_can_be_read_the_empty_registry_is_not_silent(path: Path, make_model: MakeModel) -> None:
    (write_folder(path, make_model()) / "modelforge.json").write_bytes(b"spoiled")
    store = Store(path)
    assert store.models.all() == []
    assert "was missing. There is no backup. The registry starts empty" in store.message
    added = store.models.add(make_model())
    assert Store(path).models.all() == [added]


def test_folders_that_are_no_finished_models_are_not_taken_for_some(path: Path, make_model: MakeModel) -> None:
    folder = write_folder(path, make_model())
    for name in (f".{folder.name}.partial", f".{folder.name}.deleted", "model-x", "model-../..", "other"):
        if "/" not in name:
            folder.rename(folder.with_name(name))
            folder = folder.with_name(name)
        store = Store(path)
        assert (store.models.all(), store.message) == ([], "")
    assert not path.exists()


def test_a_new_home_is_empty_and_says_nothing(path: Path) -> None:
    store = Store(path)
    assert (store.models.all(), store.datasets.all(), store.message) == ([], [], "")


def test_a_dataset_comes_back_with_all_that_was_known_of_it(home: Path, tmp_path: Path) -> None:
    forge = Forge()
    recipe = tiny.recipe(tmp_path, tiny.write_rows(tmp_path / "rows.jsonl"))
    record = forge.datasets.resolve(recipe.dataset, recipe)
    assert record.task == Task.TEXT_GENERATION
    for file in home.glob("modelforge.json*"):
        file.unlink()
    opened = Forge()
    assert opened.datasets.all() == [record]
    assert "rebuilt from the folders: 1 dataset." in opened.store.message
    assert opened.datasets.rows(record.id)
    assert paths.dataset_dir(record.id).is_dir()
