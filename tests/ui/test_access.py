"""Who may open the app, decided from options and environment; and where passwords may come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelforge.cli import main
from modelforge.errors import AccessError
from modelforge.ui.access import decide_access

TWO = {"MODELFORGE_AUTH": "omar:a:b\n\n anna:word "}


def test_modes_follow_from_how_it_is_opened() -> None:
    assert decide_access(environment={}).mode == "local"
    assert decide_access(environment={"MODELFORGE_AUTH": "omar:word"}).mode == "shared"
    assert decide_access(host="0.0.0.0", environment=TWO).mode == "shared"  # noqa: S104 - with logins
    assert decide_access(environment={"SPACE_ID": "omar/forge"}).mode == "Space"


def test_first_login_is_the_owners_and_passwords_may_have_colons() -> None:
    people = decide_access(environment=TWO).people()
    assert people is not None
    owner, anna = (people.find(people.sign_in(*login)) for login in (("omar", "a:b"), ("anna", "word")))
    assert owner and owner.is_owner and owner.id == "" and not owner.is_local
    assert anna and not anna.is_owner and anna.id == "anna" and anna.may_train


def test_share_link_is_for_chatting_with_one_model_unless_training_is_allowed() -> None:
    with pytest.raises(AccessError, match="there is none yet"):
        decide_access(share=True, environment=TWO)
    chat = decide_access(share=True, model="model-1", environment=TWO).people()
    training = decide_access(share=True, allow_training=True, environment=TWO).people()
    assert chat and training
    guest, trainee = (each.find(each.sign_in("anna", "word")) for each in (chat, training))
    assert guest and not guest.may_train and guest.sees("model-1", "") and not guest.sees("model-2", "")
    assert trainee and trainee.may_train and not trainee.sees("model-1", "")


def test_a_link_of_one_person_makes_a_login_for_guests() -> None:
    access = decide_access(share=True, model="model-1", environment={"MODELFORGE_AUTH": "omar:word"})
    people = access.people()
    assert people and access.made_password not in repr(access)
    guest = people.find(people.sign_in("guest", access.made_password))
    assert guest and not guest.is_owner and not guest.may_train


def test_logins_come_from_a_file_a_prompt_or_the_environment_but_never_an_argument(tmp_path: Path) -> None:
    file = tmp_path / "logins.txt"
    file.write_text("omar:one\nanna:two\n", encoding="utf-8")
    assert decide_access(auth_file=str(file), environment={}).logins == (("omar", "one"), ("anna", "two"))
    asked = decide_access(auth="omar", ask_password=lambda name: f"word of {name}", environment={})
    assert asked.logins == (("omar", "word of omar"),)
    with pytest.raises(AccessError, match="can be read by everybody on this machine") as refused:
        decide_access(auth="omar:secret", environment={})
    assert "secret" not in str(refused.value)
    for text in ("omar", "omar:", ":word", "omar:a\nomar:b"):
        with pytest.raises(AccessError, match="line"):
            decide_access(environment={"MODELFORGE_AUTH": text})
    for damaged in (str(tmp_path), str(tmp_path / "missing")):
        with pytest.raises(AccessError, match="cannot be read"):
            decide_access(auth_file=damaged, environment={})


def test_command_line_refuses_a_password_as_an_argument(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["ui", "--no-browser", "--auth", "anna:word"]) == 1
    assert "list of processes" in capfd.readouterr().err
