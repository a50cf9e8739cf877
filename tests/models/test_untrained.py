"""Base models answer before any training; who may name which is as for training."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelforge import Forge, hardware
from modelforge.caller import Caller, acting_as
from modelforge.errors import AccessError, BaseModelError, MemoryFullError, ModelForgeError
from modelforge.models import untrained
from modelforge.models.sampling import Sampling, Writing
from modelforge.models.untrained import find_untrained
from tests import tiny

ASKED = [{"role": "user", "content": "What colour is the lamp of house 0?"}]
SHORT = Sampling(max_new_tokens=12)
FROM_AFAR = Caller("anna", "anna", is_owner=False, is_local=False)


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    untrained._found.clear()


def test_base_model_answers_as_it_does_as_the_base_of_a_trained_one(forge: Forge, tiny_base: Path) -> None:
    record = find_untrained(str(tiny_base))
    trained = tiny.finish_model(forge, tiny_base)
    alone = "".join(forge.playground.answer(record, ASKED, SHORT))
    assert alone == forge.models[trained.id].chat(ASKED, base=True, sampling=SHORT)
    assert alone == "".join(forge.playground.answer(record, ASKED, SHORT, base=True))
    assert "on this machine" in record.description
    assert [each.id for each in forge.models.all()] == [trained.id]


def test_each_architecture_gets_the_task_that_it_suits(forge: Forge, tmp_path: Path) -> None:
    for architecture, task in (
        ("encoder-decoder", "summarization"),
        ("encoder", "extractive-question-answering"),
    ):
        record = find_untrained(str(tiny.WRITERS[architecture](tmp_path / architecture)))
        assert (record.architecture, record.task) == (architecture, task)
        if architecture == "encoder":
            span = forge.playground.find_answer(record, "The lamp is red.", "What is red?")
            assert span.text in "The lamp is red."
        else:
            assert isinstance("".join(forge.playground.summarise(record, "The lamp is red.", SHORT)), str)


def test_model_without_a_chat_template_says_that_it_continues_the_text(forge: Forge, tmp_path: Path) -> None:
    plain = tiny.tokenizer()
    plain.chat_template = None
    record = find_untrained(str(tiny.write_base(tmp_path / "plain", chosen_tokenizer=plain)))
    writing = Writing()
    assert "".join(forge.playground.answer(record, ASKED, SHORT, writing=writing))
    assert writing.is_plain and writing.tokens


def test_from_afar_nobody_names_a_folder(forge: Forge, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = find_untrained(str(tiny_base))
    monkeypatch.chdir(tiny_base.parent.parent)
    with acting_as(FROM_AFAR):
        for name in (str(tiny_base), f"{tiny_base.parent.name}/{tiny_base.name}", "../..", "~"):
            with pytest.raises(BaseModelError):
                find_untrained(name)
        with pytest.raises(BaseModelError):  # a record that somebody else was given
            list(forge.playground.answer(record, ASKED, SHORT))


def test_who_may_only_chat_chooses_no_other_model() -> None:
    guest = Caller("guest", "guest", is_owner=False, is_local=False, may_train=False, model="model-0123456789ab")
    with acting_as(guest), pytest.raises(AccessError):
        find_untrained("HuggingFaceTB/SmolLM2-135M-Instruct")


@pytest.mark.parametrize("name", ["no-such-people/no-such-model", "; touch x", "", "   "])
def test_name_that_is_no_model_is_a_sentence(name: str) -> None:
    with pytest.raises(ModelForgeError) as caught:
        find_untrained(name)
    assert caught.value.fix


def test_model_too_large_for_this_machine_is_refused_before_its_weights() -> None:
    with pytest.raises(MemoryFullError, match=r"needs .* of memory"):
        untrained._check_memory("big/model", hardware.detect().device.memory_bytes)


def test_half_written_weights_are_a_sentence(forge: Forge, tmp_path: Path) -> None:
    base = tiny.write_base(tmp_path / "half")
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(BaseModelError) as caught:
        list(forge.playground.answer(find_untrained(str(base)), ASKED, SHORT))
    assert caught.value.fix


def test_template_that_raises_or_never_ends_is_a_sentence(forge: Forge, tmp_path: Path) -> None:
    for number, template in enumerate(("{{ raise_exception('no') }}", "{{ 'a' * 10**10 }}")):
        bad = tiny.tokenizer()
        bad.chat_template = template
        record = find_untrained(str(tiny.write_base(tmp_path / f"bad-{number}", chosen_tokenizer=bad)))
        with pytest.raises(ModelForgeError) as caught:
            list(forge.playground.answer(record, ASKED, SHORT))
        assert caught.value.fix
