"""Conversations are kept for each person, bounded, found again; every branch stays reachable."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path

import pytest

from modelforge import paths
from modelforge.caller import Caller, acting_as
from modelforge.data.checks import check
from modelforge.errors import AccessError, DiskFullError, NotFoundError, RecipeError, StoreError
from modelforge.models.conversations import LONGEST_TEXT, Conversation, Conversations
from modelforge.store.documents import Documents

ANNA, BERT = (Caller(name, name, is_owner=False, is_local=False) for name in ("anna", "bert"))
GUEST = Caller("guest", "guest", is_owner=False, is_local=False, may_train=False, model="model-0123456789ab")


def talk() -> Conversation:
    asked = Conversation(model="model-0123456789ab", system="Be brief.").ask("What colour is the lamp?")
    return asked.answer("Red.", "Colours", "12 tokens")


def test_another_answer_and_an_edited_question_are_branches_beside_the_old_ones() -> None:
    first = talk()
    again = first.rewind().answer("Blue.", "Colours", "")
    edited = again.edit(0, "What colour is the boat?").answer("Green.", "Colours", "")
    assert [each["content"] for each in edited.messages()] == ["Be brief.", "What colour is the boat?", "Green."]
    said = {tuple(each["content"] for each in edited.messages(end)[1:]) for end in edited.ends}
    assert said == {
        ("What colour is the lamp?", "Red."),
        ("What colour is the lamp?", "Blue."),
        ("What colour is the boat?", "Green."),
    }
    shown = edited.show(first.at)
    assert shown.messages() == first.messages()
    with pytest.raises(NotFoundError):
        edited.show(99)
    with pytest.raises(RecipeError):
        Conversation().rewind()


def test_conversations_survive_a_restart_and_are_found_by_their_text() -> None:
    saved = Conversations().save(talk())
    Conversations().save(Conversation(model="other").ask("Wie spät ist es?"))
    again = Conversations()
    assert again.get(saved.id) == saved
    assert [each.id for each in again.find("LAMP")] == [saved.id]
    assert len(again.find()) == 2 and again.find("nowhere") == []
    assert again.find("spät")[0].label == "Wie spät ist es?"
    again.rename(saved.id, "  The   lamp ")
    assert Conversations().get(saved.id).label == "The lamp"
    again.delete(saved.id)
    with pytest.raises(NotFoundError):
        Conversations().get(saved.id)


def test_conversations_are_seen_by_who_wrote_them_and_by_nobody_else() -> None:
    service = Conversations()
    with acting_as(ANNA):
        hers = service.save(talk())
    for other in (BERT, GUEST, Caller()):
        with acting_as(other):
            assert service.find() == []
            for act in (service.get, service.delete, lambda id: service.save(talk().model_copy(update={"id": id}))):
                with pytest.raises((NotFoundError, AccessError)):
                    act(hers.id)
    with acting_as(ANNA):
        assert service.get(hers.id) == hers
    for strange in ("../../etc/passwd", "conversation-x", "model-0123456789ab/..", ""):
        with acting_as(ANNA), pytest.raises(NotFoundError):
            service.get(strange)


def test_number_and_size_are_bounded_for_each_person() -> None:
    few = Documents("conversation", 3, 400)
    with acting_as(ANNA):
        kept = few.save({"text": "hers"})
    written = [few.save({"text": str(number)}) for number in range(5)]
    assert [each["text"] for each in few.all()] == ["4", "3", "2"]
    assert written[0]["id"] not in {path.stem for path in (paths.home() / "conversations").iterdir()}
    with acting_as(ANNA):
        assert few.get(kept["id"])["text"] == "hers"
    with pytest.raises(StoreError, match="at most"):
        few.save({"text": "x" * 500})
    with pytest.raises(RecipeError, match=f"{LONGEST_TEXT:,}"):
        Conversation().ask("x" * (LONGEST_TEXT + 1))


def test_a_damaged_file_hides_no_other_and_is_said_to_be_missing() -> None:
    service = Conversations()
    whole, broken = service.save(talk()), service.save(talk())
    paths.document("conversation", broken.id).write_text("{")
    assert [each.id for each in Conversations().find()] == [whole.id]
    with pytest.raises(NotFoundError):
        Conversations().get(broken.id)


def test_a_full_disk_is_a_sentence_and_keeps_what_was_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Conversations()
    saved = service.save(talk())

    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(DiskFullError):
        patch.setattr(os, "fsync", refuse)
        service.save(saved.ask("And the boat?"))
    assert service.get(saved.id) == saved
    assert [path.name for path in (paths.home() / "conversations").iterdir()] == [f"{saved.id}.json"]


def test_files_have_every_branch_and_the_dataset_tab_reads_them(tmp_path: Path) -> None:
    both = talk().rewind().answer("Blue.", "Colours", "")
    rows = [json.loads(line) for line in both.as_jsonl().splitlines()]
    assert [row["messages"][-1]["content"] for row in rows] == ["Red.", "Blue."]
    file = tmp_path / "talk.jsonl"
    file.write_text(both.as_jsonl())
    report = check(file, "text-generation", fewest=1)
    assert report.ok and len(report.mapped_rows) == 2
    text = both.as_markdown()
    assert re.search(r"# What colour is the lamp\?.*Be brief\..*\*\*Colours\*\*\n\nBlue\.", text, re.DOTALL)
    assert "Red." not in text
