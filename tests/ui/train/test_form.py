"""The form of the Train tab follows from what is chosen in it."""

from __future__ import annotations

import shutil
from typing import Any

import gradio as gr

from modelforge import Forge, paths
from modelforge.ui.train.form import Case, TrainForm, fit_form
from modelforge.ui.train.offers import list_datasets


def test_fault_02_parent_without_its_files_is_left_and_the_form_still_follows(forge: Forge, record: Any) -> None:
    with gr.Blocks():
        form = TrainForm(forge)
        form.build_settings()
    _, dataset = list_datasets(forge, None)

    def fit() -> Any:
        return fit_form(form, dataset, "", "", "lora", "quick", record.id, Case(), {})

    assert fit()[form.parent] == record.id
    shutil.rmtree(paths.model_dir(record.id))
    assert fit()[form.parent] == ""
