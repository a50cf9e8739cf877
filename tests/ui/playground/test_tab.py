"""The Playground offers the models that can answer first, and says why another one cannot."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from modelforge import Forge, paths
from modelforge.caller import Caller, acting_as
from modelforge.errors import ModelForgeError
from modelforge.ui.playground import choices
from modelforge.ui.playground.tab import ONE, PlaygroundTab, build, fit
from modelforge.ui.playground.tab import TWO as TWO_SIDES
from tests import tiny

GUEST = Caller("guest", "guest", is_owner=False, is_local=False, may_train=False)


@pytest.fixture
def tab(forge: Forge) -> PlaygroundTab:
    with gr.Blocks():
        return build(forge)


def visible(tab: PlaygroundTab, fitted: dict[Any, Any]) -> set[str]:
    boxes = {
        "talk": tab.talk.box, "sides": tab.sides.box, "documents": tab.documents.box, "questions": tab.questions.box,
        "saved": tab.saved.box, "side": tab.side,
    }  # fmt: skip
    return {name for name, box in boxes.items() if fitted[box]["visible"]}


def test_fault_02_model_without_its_files_is_not_picked_and_says_why(
    forge: Forge, tab: PlaygroundTab, tiny_base: Path
) -> None:
    whole = tiny.finish_model(forge, tiny_base, name="Whole")
    broken = tiny.finish_model(forge, tiny_base, name="Broken")
    shutil.rmtree(paths.model_dir(broken.id))
    assert choices.offer(forge).value == whole.id
    assert choices.offer(forge, broken.id).value == broken.id
    hints = [fit(forge, tab, each.id, "Fine-tuned", ONE, None)[tab.hint] for each in (broken, whole)]
    assert "missing" in hints[0] and "missing" not in hints[1]


def test_without_a_model_a_base_model_is_offered(forge: Forge, tab: PlaygroundTab) -> None:
    offered = choices.offer(forge)
    assert offered.value.startswith(choices.BASE) and "No model yet" in offered.info
    with acting_as(GUEST):
        assert choices.offer(forge).value is None
        assert choices.offer(forge, "somebody/else").value is None


def test_what_is_shown_follows_from_the_model(
    forge: Forge, tab: PlaygroundTab, tiny_base: Path, tmp_path: Path
) -> None:
    bases = {name: str(tiny.WRITERS[name](tmp_path / name)) for name in ("encoder-decoder", "encoder")}
    for value, mode, expected in (
        (str(tiny_base), ONE, {"talk", "saved", "side"}),
        (str(tiny_base), TWO_SIDES, {"sides", "side"}),
        (bases["encoder-decoder"], TWO_SIDES, {"documents", "side"}),
        (bases["encoder"], ONE, {"questions"}),
        ("model-000000000000", TWO_SIDES, {"talk", "saved", "side"}),
    ):
        fitted = fit(forge, tab, value, "Fine-tuned", mode, None)
        assert visible(tab, fitted) == expected, value
        assert set(fitted) == set(tab.fitted)


def test_tuned_is_compared_with_its_base_unless_another_is_chosen(
    forge: Forge, tab: PlaygroundTab, tiny_base: Path
) -> None:
    first, other = (tiny.finish_model(forge, tiny_base, name=name) for name in ("First", "Other"))
    fitted = fit(forge, tab, first.id, "Fine-tuned", TWO_SIDES, None)
    assert fitted[tab.sides.against].value == f"{first.id}{choices.OF}"
    assert fit(forge, tab, first.id, "Base", TWO_SIDES, None)[tab.sides.against].value == first.id
    kept = fit(forge, tab, first.id, "Fine-tuned", TWO_SIDES, other.id)[tab.sides.against]
    assert "value" not in kept
    speaker = choices.find_speaker(forge, f"{first.id}{choices.OF}")
    assert speaker.base and speaker.name == "First (its base model)"


@pytest.mark.parametrize("typed", ["", "model-000000000000", "no-such-people/no-such-model", "../..", "base:", "; x"])
def test_a_name_that_is_no_model_is_a_sentence(
    forge: Forge, tab: PlaygroundTab, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelForgeError):
        choices.find_record(forge, typed)
    assert visible(tab, fit(forge, tab, typed, "Fine-tuned", ONE, None)) == {"talk", "saved", "side"}
