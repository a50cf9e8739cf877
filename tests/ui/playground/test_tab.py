"""The Playground offers the models that can answer first, and says why another one cannot."""

from __future__ import annotations

import shutil
from pathlib import Path

from modelforge import Forge, paths
from modelforge.ui.models.tab import offer_models
from modelforge.ui.playground.tab import fit
from tests import tiny


def test_fault_02_model_without_its_files_is_not_picked_and_says_why(forge: Forge, tiny_base: Path) -> None:
    whole = tiny.finish_model(forge, tiny_base, name="Whole")
    broken = tiny.finish_model(forge, tiny_base, name="Broken")
    shutil.rmtree(paths.model_dir(broken.id))
    assert offer_models(forge).value == whole.id
    assert offer_models(forge, broken.id).value == broken.id
    assert "missing" in fit(forge, broken.id)[0] and "missing" not in fit(forge, whole.id)[0]
