"""llama.cpp answers as transformers does, from the model's own tokens; where it cannot, it says why, and transformers
answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge, starter
from modelforge.engines import files
from modelforge.errors import EngineError, RecipeError
from modelforge.models.engine import LLAMA, TRANSFORMERS
from modelforge.models.sampling import STOP, Sampling, Writing
from modelforge.recipe import STARTER
from tests import tiny
from tests.gguf.conftest import known_base
from tests.machine import live_in

__all__ = ["known_base"]
pytest.importorskip("xllamacpp")

ASKED = [{"role": "user", "content": "What colour is the lamp of house 0?"}]
SHORT = Sampling(max_new_tokens=16)


@pytest.fixture(scope="module")
def model(
    tmp_path_factory: pytest.TempPathFactory, measured: Path, known_base: Path, converter_cache: Path
) -> Iterator[Any]:
    """A handle on a model whose files for llama.cpp are made."""
    with live_in(tmp_path_factory.mktemp("engine") / "home", measured) as home:
        (home / "cache" / "converters").symlink_to(converter_cache, target_is_directory=True)
        forge = Forge()
        made = forge.models[tiny.finish_model(forge, known_base, chosen_tokenizer=load_tokenizer(known_base)).id]
        writing = Writing()
        list(made.playground.answer(made.record, ASKED, SHORT, writing=writing))
        assert writing.by == "Answered by transformers: its file for llama.cpp was not made yet."
        assert made.playground.engine.prepare(made.record) == ""
        yield made
        made.playground.unload()


def load_tokenizer(folder: Path) -> Any:
    from modelforge import loading

    return loading.load_tokenizer(folder, "known")


@pytest.fixture
def home(model: Any) -> None:
    """That of the model."""


def ask(model: Any, sampling: Sampling = SHORT, said: Any = ASKED, **more: Any) -> tuple[str, Writing]:
    writing = Writing()
    return "".join(model.playground.answer(model.record, said, sampling, writing=writing, **more)), writing


EXACT = SHORT.model_copy(update={"engine": TRANSFORMERS})


@pytest.mark.parametrize("said", [ASKED, "The lamp is", [{"role": "system", "content": "Rhyme."}, *ASKED]])
@pytest.mark.parametrize("base", [False, True])
def test_llama_cpp_answers_as_transformers_does(model: Any, said: Any, base: bool) -> None:
    text, fast = ask(model, said=said, base=base)
    expected, exact = ask(model, EXACT, said=said, base=base)
    assert (fast.engine, exact.engine) == (LLAMA, TRANSFORMERS)
    assert fast.by == "Answered by llama.cpp (F16)."
    assert (fast.prompt_tokens, fast.window) == (exact.prompt_tokens, exact.window)
    assert text[:6] == expected[:6]  # rounding may change a later word


def test_tuned_and_base_take_turns_without_a_trace(model: Any) -> None:
    expected = {base: ask(model, base=base)[0] for base in (False, True)}
    assert expected[False][:3] != expected[True][:3]
    found: list[tuple[bool, str]] = []

    def talk(base: bool) -> None:
        found.append((base, ask(model, base=base)[0]))

    threads = [threading.Thread(target=talk, args=[number % 2 == 0]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 6
    assert all(text[:3] == expected[base][:3] for base, text in found)  # side by side it rounds otherwise


def test_same_seed_draws_the_same_answer(model: Any) -> None:
    def draw(seed: int | None) -> str:
        return ask(model, Sampling(max_new_tokens=12, temperature=1.0, top_k=50, min_p=0.01, seed=seed))[0]

    assert draw(3) == draw(3)
    assert len({draw(3), draw(4), draw(None), draw(None)}) == 4


def test_answer_that_is_left_frees_its_place(model: Any) -> None:
    for _ in range(8):  # more than are answered at once
        pieces = model.playground.answer(model.record, ASKED, Sampling(max_new_tokens=400))
        next(pieces)
        pieces.close()
    assert ask(model)[0]


def test_answer_counts_its_tokens_and_says_how_it_ended(model: Any) -> None:
    _, writing = ask(model, Sampling(max_new_tokens=5))
    assert (writing.tokens, writing.ending) == (5, "length")
    _, writing = ask(model, Sampling(max_new_tokens=500, temperature=2.0, seed=1))
    assert writing.tokens > 450 or writing.ending == STOP  # the window has 512


def test_prompt_is_cut_or_refused_as_by_transformers(model: Any) -> None:
    long = [{"role": "user", "content": "lamp " * 3000}]
    _, fast = ask(model, said=long)
    _, exact = ask(model, EXACT, said=long)
    assert fast.cut_tokens == exact.cut_tokens > 0
    with pytest.raises(RecipeError, match="reads"):
        ask(model, said=long, whole=True)


def test_unloading_ends_its_process_and_the_next_answer_starts_another(model: Any) -> None:
    expected = ask(model)[0]
    [opened] = model.playground.engine._opened.values()
    model.playground.unload()
    assert not opened.server.is_alive()
    with pytest.raises(EngineError, match="stopped"):
        list(opened.server.write([1, 2], 3, {}))
    assert ask(model)[0] == expected


def test_process_that_died_is_started_again(model: Any) -> None:
    expected = ask(model)[0]
    [opened] = model.playground.engine._opened.values()
    opened.server._process.kill()
    opened.server._process.wait()
    assert ask(model)[0] == expected


def test_process_ends_with_the_one_that_started_it(model: Any) -> None:
    ask(model)
    [opened] = model.playground.engine._opened.values()
    opened.server._process.stdin.close()  # as the system does when the app is killed
    assert opened.server._process.wait(30) == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"tuning": "qlora"}, "4 bits"), ({"architecture": "encoder"}, "only for models that generate text")],
)
def test_reason_is_given_where_llama_cpp_cannot_answer(model: Any, changes: dict[str, str], reason: str) -> None:
    opened, _, found = model.playground.engine.choose(model.record.model_copy(update=changes), base=False)
    assert opened is None
    assert reason in found


@pytest.mark.parametrize("changes", [{"id": "model-000000000000"}, {"tuning": "full", "base_model": STARTER}])
def test_choosing_downloads_nothing(model: Any, changes: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter, "ensure", lambda *_: pytest.fail("downloaded"))
    other = model.record.model_copy(update=changes)
    assert model.playground.engine.choose(other, base=True)[0] is None


def test_damaged_file_makes_transformers_answer(model: Any, known_base: Path) -> None:
    model.playground.unload()
    file = files.find_model(known_base)
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    try:
        text, writing = ask(model)
        assert text and writing.engine == TRANSFORMERS
        assert "cannot load" in writing.reason
    finally:
        file.write_bytes(whole)
        model.playground.engine._problems.clear()


def test_files_of_a_model_go_with_it(model: Any, known_base: Path) -> None:
    forge = Forge()
    made = tiny.finish_model(forge, known_base, name="Other", chosen_tokenizer=load_tokenizer(known_base))
    assert forge.playground.engine.prepare(made) == ""
    adapter = files.find_adapter(forge.models.path(made))
    assert adapter.exists()
    forge.models.delete(made.id)
    assert not adapter.exists()
    assert files.find_model(known_base).exists()  # others use it
