"""The Models tab: every model is listed, also one that cannot be used any more."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge, paths
from modelforge.errors import NotFoundError
from modelforge.models.folder import MANIFEST
from modelforge.ui.models import tab as models_tab
from modelforge.ui.models.tab import describe_choice, show_models
from tests import tiny


def remove_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def damage_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text("[]", encoding="utf-8")


DAMAGES: list[tuple[Callable[[Path], None], str]] = [(remove_folder, "missing"), (damage_manifest, "damaged")]


@pytest.mark.parametrize(("damage", "said"), DAMAGES)
def test_fault_02_model_without_its_files_is_listed_explained_and_deletable(
    forge: Forge, tiny_base: Path, damage: Callable[[Path], None], said: str
) -> None:
    whole = tiny.finish_model(forge, tiny_base, name="Whole")
    broken = tiny.finish_model(forge, tiny_base, name="Broken")  # the newest one is shown first
    damage(paths.model_dir(broken.id))
    table, details = show_models(forge)[1], show_models(forge)[5]
    assert "Broken (files missing or damaged)" in table and ">Whole<" in table
    assert (
        said in details
        and "Training time" not in details
        and "delete the model" in details
        and str(paths.model_dir(broken.id)) in details
    )
    assert "Task" in describe_choice(forge, whole.id)[1]
    with pytest.raises(NotFoundError, match=said):
        models_tab.check_usable(forge, broken.id)
    forge.models.delete(broken.id)
    assert forge.models.all() == [whole]
    assert "Broken" not in show_models(forge)[1]


def test_details_name_the_parent_and_say_when_it_was_deleted(forge: Forge, record: Any) -> None:
    forge.store.models.update(record.id, parent="model-000000000000")
    assert "model-000000000000 (deleted)" in describe_choice(forge, record.id)[1]
