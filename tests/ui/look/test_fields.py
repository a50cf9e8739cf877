"""The form offers every setting, but for those that have a place of their own."""

from __future__ import annotations

import gradio as gr

from modelforge.recipe import Recipe, fields
from modelforge.ui.look.fields import build_widgets
from modelforge.ui.train.form import OWN_PLACE


def test_every_setting_has_a_widget_or_a_place_of_its_own() -> None:
    with gr.Blocks():
        made, _ = build_widgets(OWN_PLACE)
    assert made.keys() == fields().keys() - OWN_PLACE
    assert fields().keys() >= OWN_PLACE


def test_form_that_nobody_touched_is_the_default_recipe() -> None:
    with gr.Blocks():
        made, _ = build_widgets(OWN_PLACE)
    assert Recipe().with_settings({name: widget.value for name, widget in made.items()}) == Recipe()
