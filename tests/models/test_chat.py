"""The playground: real answers of a real adapter, base and tuned on the same weights, one model at a time."""

from __future__ import annotations

import functools
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge, paths
from modelforge.errors import BaseModelError, ModelForgeError, NotFoundError, RecipeError
from modelforge.models.sampling import Sampling
from tests import tiny
from tests.machine import live_in

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


def test_adapter_is_switched_once_an_answer_not_once_a_token(
    forge: Forge, record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft.tuners.tuners_utils import BaseTuner

    model, switched = forge.models[record.id], []
    model.chat(ASKED, sampling=SHORT)
    for name in ("enable_adapter_layers", "disable_adapter_layers"):
        plain = getattr(BaseTuner, name)
        monkeypatch.setattr(BaseTuner, name, lambda self, plain=plain: (switched.append(self), plain(self))[1])
    for base in (True, True, False, False):
        model.chat(ASKED, base=base, sampling=SHORT)
    assert len(switched) == 2


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
    with pytest.raises(NotFoundError, match="missing") as caught:
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


def test_template_of_a_model_cannot_harm_whoever_chats_with_it(forge: Forge, record: Any) -> None:
    (paths.model_dir(record.id) / "chat_template.jinja").write_text("{{ 'a' * 10**10 }}")
    with pytest.raises(BaseModelError, match="chat template of this base model was stopped"):
        forge.models[record.id].chat("hi", sampling=SHORT)
    file = tiny.write_rows(paths.home() / "rows.jsonl")
    with pytest.raises(BaseModelError, match="chat template of this base model was stopped"):
        forge.models[record.id].evaluate(data=file)


def test_failed_load_does_not_lock_the_playground(forge: Forge, record: Any, tiny_base: Path) -> None:
    other = tiny.finish_model(forge, tiny_base, name="Other")
    cut_adapter(paths.model_dir(other.id))
    forge.models[record.id].chat("hi", sampling=SHORT)
    with pytest.raises(ModelForgeError):
        forge.models[other.id].chat("hi", sampling=SHORT)
    assert isinstance(forge.models[record.id].chat("hi", sampling=SHORT), str)


# ---- every kind of model ---------------------------------------------------------------------------------------

ASKED_OF = {
    "decoder": lambda model, **more: model.chat("What colour is the lamp of house 0?", sampling=SHORT, **more),
    "encoder-decoder": lambda model, **more: model.summarise("The lamp of house 0 is red.", sampling=SHORT, **more),
    "encoder": lambda model, **more: model.find_answer("The lamp is red. The boat is blue.", "What is red?", **more),
}
SHAPE_OF = {
    "decoder": ("chat", {}),
    "encoder-decoder": ("summary", {"task": "summarization", "max_target_length": 12}),
    "encoder": ("span", {"task": "question-answering"}),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, measured: Path) -> Callable[..., Path]:
    """trained("encoder", "full") -> a folder with a home that has such a model, and the base beside it. Each is trained
    once, so that it answers otherwise than its base; a test copies the home."""

    @functools.cache
    def make(architecture: str, tuning: str, **settings: Any) -> Path:
        folder = tmp_path_factory.mktemp("trained")
        shape, task = SHAPE_OF[architecture]
        with live_in(folder / "home", measured):
            base = tiny.WRITERS[architecture](folder / architecture)
            file = tiny.write_jsonl(folder / f"{shape}.jsonl", tiny.user_rows(shape))
            learn = {"max_steps": 8, "learning_rate": 3e-2, "tuning.type": tuning, "eval_split": 0}
            run = Forge().runs.start(tiny.recipe(base, file, {**learn, **task, **settings}))
            run.wait(100)
            assert run.model_id, run.record.error
        return folder

    return make


@pytest.fixture
def train(home: Path, trained: Callable[..., Path]) -> Callable[..., Any]:
    """train("encoder", "full") -> a model of that kind, in a copy of the home that it was trained in."""

    def make(architecture: str, tuning: str, **settings: Any) -> Any:
        shutil.copytree(trained(architecture, tuning, **settings) / "home", home, dirs_exist_ok=True)
        forge = Forge()
        [record] = forge.models.all()
        return forge.models[record.id]

    return make


@pytest.mark.parametrize(
    "tuning", ["lora", *(pytest.param(each, marks=pytest.mark.slow) for each in ("qlora", "full"))]
)
@pytest.mark.parametrize("architecture", ASKED_OF)
def test_tuned_and_base_answer_differently_whatever_was_trained(
    train: Callable[..., Any], architecture: str, tuning: str
) -> None:
    model, ask = train(architecture, tuning), ASKED_OF[architecture]
    tuned, base = ask(model), ask(model, base=True)
    assert tuned != base
    assert (ask(model), ask(model, base=True)) == (tuned, base)  # the switch leaves no trace
    assert Forge().models[model.record.id].playground is not model.playground
    assert ask(Forge().models[model.record.id], base=True) == base  # also where the base is asked first


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ASKED_OF)
def test_base_of_a_model_trained_whole_is_loaded_only_when_it_is_asked(
    train: Callable[..., Any], architecture: str
) -> None:
    model = train(architecture, "full")
    ASKED_OF[architecture](model)
    loaded, tuned = model.playground.load(model.record)
    assert loaded.base is None and not loaded.is_adapter
    ASKED_OF[architecture](model, base=True)
    assert model.playground.load(model.record)[0].base is not None is not tuned
    model.playground.unload()
    assert model.playground.load(model.record)[0].base is None


@pytest.mark.parametrize("architecture", ASKED_OF)
def test_model_trained_whole_answers_without_its_base(
    train: Callable[..., Any], trained: Callable[..., Path], architecture: str
) -> None:
    model, ask = train(architecture, "full"), ASKED_OF[architecture]
    answer = ask(model)
    model.playground.unload()
    base = trained(architecture, "full") / architecture
    base.rename(base.with_suffix(".gone"))
    try:
        assert ask(model) == answer
        with pytest.raises(BaseModelError) as caught:
            ask(model, base=True)
    finally:
        base.with_suffix(".gone").rename(base)
    assert str(base) in caught.value.what


@pytest.mark.parametrize("asked", ASKED_OF)
@pytest.mark.parametrize("architecture", ASKED_OF)
def test_model_that_is_asked_for_what_it_does_not_do_says_what_to_give_it(
    train: Callable[..., Any], architecture: str, asked: str
) -> None:
    model = train(architecture, "lora")
    if asked == architecture or (architecture, asked) == ("decoder", "encoder-decoder"):
        ASKED_OF[asked](model)  # a decoder can be asked for a summary
        return
    with pytest.raises(RecipeError, match=f"is a model for {model.record.task}") as caught:
        ASKED_OF[asked](model)
    hints = {"decoder": "a prompt", "encoder-decoder": "a document", "encoder": "a context and a question"}
    assert caught.value.fix == f"Give it {hints[architecture]}."


def test_decoder_is_asked_for_a_summary_as_in_training(train: Callable[..., Any]) -> None:
    from modelforge.tasks.summarization import to_messages

    model = train("decoder", "lora")
    document = 'He said "no" {x}\n\nand left.'
    assert model.summarise(document, sampling=SHORT) == model.chat(to_messages({"document": document}), sampling=SHORT)


@pytest.mark.parametrize("blank", ["", "  \n"])
def test_nothing_given_is_said_to_be_missing(forge: Forge, record: Any, blank: str) -> None:
    model = forge.models[record.id]
    for ask, name in (
        (lambda: model.summarise(blank), "document"),
        (lambda: model.find_answer(blank, "Who?"), "context"),
        (lambda: model.find_answer("Me.", blank), "question"),
    ):
        with pytest.raises(RecipeError, match=f"There is no {name}") as caught:
            ask()
        assert caught.value.where == name


def test_long_text_is_searched_to_its_end(train: Callable[..., Any]) -> None:
    context = "It goes on and on. " * 60 + "The boat is blue."
    span = train("encoder", "full", max_length=48).find_answer(context, "What colour is the boat?")
    assert span.text == context[span.start : span.end] and 0 <= span.score <= 1
