"""The Hub tab shows what would be sent, or why nothing can be."""

from __future__ import annotations

import shutil
from typing import Any

from modelforge import Forge, paths
from modelforge.ui.hub.push import describe_push


def test_files_and_card_of_a_model_are_shown(forge: Forge, record: Any) -> None:
    files, card = describe_push(forge, record.id)
    assert "adapter_model.safetensors" in files and "# Colours" in card


def test_fault_02_model_without_its_files_says_why_nothing_is_sent(forge: Forge, record: Any) -> None:
    shutil.rmtree(paths.model_dir(record.id))
    files, card = describe_push(forge, record.id)
    assert "missing" in files and card == ""
