"""An answer on the page: it grows, is kept also where it is stopped or the page is closed, and errors are sentences."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from modelforge import Forge, paths
from modelforge.caller import Caller, acting_as
from modelforge.errors import ModelForgeError, NotFoundError
from modelforge.models.conversations import Conversation
from modelforge.models.sampling import Sampling, Writing
from modelforge.ui.playground.choices import Speaker
from modelforge.ui.playground.conversation import (
    ConversationPanel,
    describe_writing,
    keep,
    list_messages,
    write_reply,
)
from modelforge.ui.playground.settings import SLIDERS, find_preset, read_sampling

LONG = Sampling(max_new_tokens=60)
ASKED = Conversation(model="x").ask("What colour is the lamp <b>&amp;</b>?")


@pytest.fixture
def panel() -> ConversationPanel:
    with gr.Blocks():
        return ConversationPanel()


def test_answer_grows_and_is_saved_with_its_speed(forge: Forge, record: Any, panel: ConversationPanel) -> None:
    steps = list(write_reply(forge, panel, ASKED, Speaker(record), LONG))
    texts = [step[panel.chat][-1]["content"] for step in steps]
    talk = steps[-1][panel.state]
    assert texts[0] == "…" and talk.turns[-1].text == forge.models[record.id].chat(ASKED.messages(), sampling=LONG)
    assert "a second" in talk.turns[-1].note and talk.turns[-1].by == record.name
    assert forge.conversations.get(talk.id) == talk
    assert list_messages(talk)[0]["content"] == "What colour is the lamp &lt;b&gt;&amp;amp;&lt;/b&gt;?"


def test_chosen_branch_is_kept_but_a_deleted_conversation_is_only_looked_at(forge: Forge) -> None:
    first = keep(forge, ASKED.answer("Amber.", "x", ""))[0]
    talk = keep(forge, first.rewind().answer("Teal.", "x", ""))[0]
    assert forge.conversations.get(talk.id).at == talk.at != first.at
    keep(forge, talk.show(first.at), anew=False)
    assert forge.conversations.get(talk.id).at == first.at
    forge.conversations.delete(talk.id)
    for each in (talk, ASKED):
        assert keep(forge, each, anew=False) == (each, "")
    assert forge.conversations.find() == []
    assert keep(forge, talk)[0].id != talk.id


def test_stopped_answer_is_kept(forge: Forge, record: Any, panel: ConversationPanel) -> None:
    steps = write_reply(forge, panel, ASKED, Speaker(record), LONG)
    next(steps)[panel.running].set()
    *_, last = steps
    said = last[panel.state].turns[-1]
    assert said.text and "stopped" in said.note
    assert forge.conversations.find()[0].turns[-1].text == said.text


def test_answer_is_kept_when_the_page_is_closed(forge: Forge, record: Any, panel: ConversationPanel) -> None:
    steps = write_reply(forge, panel, ASKED, Speaker(record), LONG)
    next(steps), next(steps)
    steps.close()
    [kept] = forge.conversations.find()
    assert kept.turns[-1].role == "assistant" and kept.turns[-1].text and "stopped" in kept.turns[-1].note
    assert isinstance(forge.models[record.id].chat("hi", sampling=LONG), str)  # the model is free


def test_full_disk_loses_no_answer_from_the_page(
    forge: Forge, record: Any, panel: ConversationPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        *_, last = write_reply(forge, panel, ASKED, Speaker(record), LONG)
    assert last[panel.state].turns[-1].text and "could not be saved. " in last[panel.problem]
    assert "Not enough disk space" in last[panel.problem]
    assert forge.conversations.find() == []


def test_half_deleted_model_is_a_sentence_and_the_question_stays(
    forge: Forge, record: Any, panel: ConversationPanel
) -> None:
    shutil.rmtree(paths.model_dir(record.id))
    steps, seen = write_reply(forge, panel, ASKED, Speaker(record), LONG), []
    with pytest.raises(NotFoundError) as caught:
        seen.extend(steps)
    assert caught.value.fix
    assert forge.conversations.find() == []


def test_who_may_only_chat_keeps_nothing(forge: Forge, record: Any, panel: ConversationPanel) -> None:
    guest = Caller("guest", "guest", is_owner=False, is_local=False, may_train=False, model=record.id)
    with acting_as(guest):
        *_, last = write_reply(forge, panel, ASKED, Speaker(record), LONG)
    assert last[panel.state].turns[-1].text and not last[panel.state].id
    assert not (paths.home() / "conversations").exists()


def test_conversation_deleted_meanwhile_is_saved_as_a_new_one(
    forge: Forge, record: Any, panel: ConversationPanel
) -> None:
    talk = forge.conversations.save(ASKED)
    forge.conversations.delete(talk.id)
    *_, last = write_reply(forge, panel, talk, Speaker(record), LONG)
    assert last[panel.state].id not in ("", talk.id) and len(forge.conversations.find()) == 1


def test_note_says_what_was_cut_and_how_fast(tmp_path: Path) -> None:
    note = describe_writing(Writing(tokens=11, prompt_tokens=900, cut_tokens=500, window=512), 2.0)
    assert note.startswith("11 tokens, 5.0 a second. ") and "900" in note and "512" in note and "500" in note
    assert describe_writing(Writing(), 0.0) == ""
    assert describe_writing(Writing(tokens=1), 0.0, is_stopped=True) == "1 token, stopped."


def test_settings_are_read_in_their_order_and_presets_are_found_again() -> None:
    from modelforge.models.sampling import PRESETS

    given = {"max_new_tokens": 9, "temperature": 0.5, "top_p": 0.9, "min_p": 0.1, "top_k": 3, "repetition_penalty": 1.1}
    assert list(given) == list(SLIDERS)
    assert read_sampling(*given.values(), "auto", " 7 ") == Sampling(**given, seed=7)
    assert read_sampling(*given.values(), None, None) == Sampling(**given)  # fields that were never shown
    for wrong in ("x", "-1"):
        with pytest.raises(ModelForgeError):
            read_sampling(*given.values(), "auto", wrong)
    assert [find_preset(*preset.values()) for preset in PRESETS.values()] == list(PRESETS)
    assert find_preset(0.1, 0.95, 0, 0, 1) is None
