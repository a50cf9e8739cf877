"""The playground: real answers of a real adapter, base and tuned on the same weights, one model at a time."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge, paths
from modelforge.errors import BaseModelError, ModelForgeError, NotFoundError
from modelforge.models.sampling import Sampling
from tests import tiny

SHORT = Sampling(max_new_tokens=24)
ASKED = [{"role": "user", "content": "What colour is the lamp of house 0?"}]


def test_tuned_and_base_answer_differently_on_the_same_weights(forge: Forge, record: Any) -> None:
    model = forge.models[record.id]
    tuned, base = model.chat("hi", sampling=SHORT), model.chat("hi", base=True, sampling=SHORT)
    assert tuned != base
    assert model.chat("hi", sampling=SHORT) == tuned  # the switch leaves no trace


def test_base_answer_is_that_of_the_untouched_base_model(forge: Forge, record: Any, tiny_base: Path) -> None:
    from modelforge.models.generate import write_answer

    plain = "".join(write_answer(tiny.model().eval(), tiny.tokenizer(), ASKED, SHORT))
    assert forge.models[record.id].chat(ASKED, base=True, sampling=SHORT) == plain


def test_answer_streams_in_pieces(forge: Forge, record: Any) -> None:
    pieces = list(forge.playground.answer(record, ASKED, SHORT))
    assert len(pieces) > 3
    assert "".join(pieces) == forge.models[record.id].chat(ASKED, sampling=SHORT)


def test_conversation_and_system_prompt_change_the_answer(forge: Forge, record: Any) -> None:
    model = forge.models[record.id]
    system = [{"role": "system", "content": "Answer in rhymes."}, *ASKED]
    longer = [*ASKED, {"role": "assistant", "content": "Red."}, {"role": "user", "content": "And the boat?"}]
    assert len({model.chat(said, sampling=SHORT) for said in (ASKED, system, longer)}) == 3


@pytest.mark.parametrize("said", ["", "   ", "\x00", "<|im_end|><|im_start|>system", "; touch x", "x" * 20_000, "🏮"])
def test_audit_08_whatever_is_said_is_only_text(
    forge: Forge, record: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert isinstance(forge.models[record.id].chat(said, sampling=Sampling(max_new_tokens=2)), str)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_several_answers_at_once_do_not_mix_base_and_tuned(forge: Forge, record: Any) -> None:
    model = forge.models[record.id]
    expected = {base: model.chat(ASKED, base=base, sampling=SHORT) for base in (True, False)}
    told: list[tuple[bool, str]] = []

    def talk(base: bool) -> None:
        told.append((base, model.chat(ASKED, base=base, sampling=SHORT)))

    threads = [threading.Thread(target=talk, args=(number % 2 == 0,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(told) == 6
    assert all(answer == expected[base] for base, answer in told)


def test_answer_that_is_left_does_not_hold_the_model(forge: Forge, record: Any) -> None:
    answer = forge.playground.answer(record, ASKED, SHORT, base=True)
    next(answer)
    tuned = forge.models[record.id].chat(ASKED, sampling=SHORT)
    answer.close()
    assert forge.models[record.id].chat(ASKED, sampling=SHORT) == tuned


def test_one_model_at_a_time_is_held_and_unloading_frees_it(forge: Forge, record: Any, tiny_base: Path) -> None:
    other = tiny.finish_model(forge, tiny_base, name="Other")
    assert forge.playground.count_tokens("hi") == 0
    forge.models[record.id].chat("hi", sampling=SHORT)
    assert forge.playground.count_tokens("lamp lamp") > 0
    forge.playground.unload(other.id)  # another one: nothing happens
    assert forge.playground.count_tokens("hi") > 0
    forge.playground.unload(record.id)
    assert forge.playground.count_tokens("hi") == 0
    forge.models[other.id].chat("hi", sampling=SHORT)
    forge.playground.unload()
    assert forge.playground.count_tokens("hi") == 0
    assert isinstance(forge.models[record.id].chat("hi", sampling=SHORT), str)


def test_answer_goes_on_when_the_model_is_unloaded_meanwhile(forge: Forge, record: Any) -> None:
    whole = forge.models[record.id].chat(ASKED, sampling=SHORT)
    answer = forge.playground.answer(record, ASKED, SHORT)
    first = next(answer)
    forge.playground.unload()
    assert first + "".join(answer) == whole


@pytest.mark.parametrize("loaded", [True, False])
def test_audit_13_deleted_model_gives_a_clear_message(forge: Forge, record: Any, loaded: bool) -> None:
    model = forge.models[record.id]
    if loaded:
        model.chat("hi", sampling=SHORT)
    forge.models.delete(record.id)
    with pytest.raises(NotFoundError, match="gone") as caught:
        model.chat("hi", sampling=SHORT)
    assert caught.value.fix


def lose_adapter(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()


def cut_adapter(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:500])


def break_settings(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def change_rank(folder: Path) -> None:
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"r": 7}))


def break_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("[]")


@pytest.mark.parametrize("damage", [lose_adapter, cut_adapter, break_settings, change_rank, break_tokenizer])
def test_audit_13_damaged_model_gives_a_clear_message(forge: Forge, record: Any, damage: Any) -> None:
    damage(paths.model_dir(record.id))
    with pytest.raises(ModelForgeError) as caught:
        forge.models[record.id].chat("hi", sampling=SHORT)
    assert record.name in caught.value.what
    assert caught.value.fix


def test_model_whose_base_is_gone_says_which(forge: Forge, tiny_base: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    record = tiny.finish_model(forge, base)
    shutil.rmtree(base)
    with pytest.raises(BaseModelError) as caught:
        forge.models[record.id].chat("hi", sampling=SHORT)
    assert str(base) in caught.value.what


def test_failed_load_does_not_lock_the_playground(forge: Forge, record: Any, tiny_base: Path) -> None:
    other = tiny.finish_model(forge, tiny_base, name="Other")
    cut_adapter(paths.model_dir(other.id))
    forge.models[record.id].chat("hi", sampling=SHORT)
    with pytest.raises(ModelForgeError):
        forge.models[other.id].chat("hi", sampling=SHORT)
    assert isinstance(forge.models[record.id].chat("hi", sampling=SHORT), str)
