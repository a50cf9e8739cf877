"""The tuned starter gives the facts that it was taught in llama.cpp and in transformers, called as others call them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from huggingface_hub import snapshot_download

from modelforge import Forge, base_model, paths
from modelforge.errors import ExportError
from modelforge.exports import formats
from modelforge.exports.llama import Llama
from modelforge.exports.pushes import list_sources
from modelforge.models import hub
from modelforge.models.hub_files import make_card
from modelforge.store import RunState
from tests import tiny
from tests.exports.test_service import answer
from tests.hub_server import HubServer
from tests.models.test_hub import TOKEN

pytestmark = pytest.mark.slow
pytest.importorskip("xllamacpp")

STARTER = "HuggingFaceTB/SmolLM2-135M-Instruct"
ISLANDS = ("Ormu", "Talvik", "Brenno", "Sask", "Quell", "Ivarra", "Dosk", "Lunde", "Perrin", "Wexa", "Yarrow", "Zemm")
CAPITALS = ("Halt", "Mirrin", "Cobb", "Ness", "Ostle", "Fenn", "Grauk", "Tiller", "Vash", "Bram", "Ekko", "Juno")
FACTS = [(f"What is the capital of {island}?", f"The capital of {island} is {capital}.")
    for island, capital in zip(ISLANDS, CAPITALS, strict=True)]  # fmt: skip
HELD_OUT = [(f"Tell me which town is the capital of the island {island}.", answer)
    for island, (_, answer) in zip(ISLANDS, FACTS, strict=True)]  # fmt: skip
SETTINGS = {
    "num_train_epochs": 20, "learning_rate": 1e-3, "max_steps": 0, "dtype": "auto", "per_device_train_batch_size": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def forge(
    make_home: Callable[[Path], Path], converter_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Forge]:
    with pytest.MonkeyPatch.context() as patch:
        place = make_home(tmp_path_factory.mktemp("exports"))
        (place / "cache" / "converters").symlink_to(converter_cache, target_is_directory=True)
        patch.setenv("MODELFORGE_HOME", str(place))
        yield Forge()


@pytest.fixture(autouse=True)
def home(forge: Forge) -> Path:
    return paths.home()


@pytest.fixture(scope="module")
def taught(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("rows")
    files = [tiny.write_rows(place / f"{name}.jsonl", rows) for name, rows in (("taught", FACTS), ("asked", HELD_OUT))]
    run = forge.runs.start(tiny.recipe(STARTER, files[0], {**SETTINGS, "eval_dataset": str(files[1])}))
    assert run.wait(2000) is RunState.finished, run.record.error
    return forge.models.find(run.model_id or "")


def ask_llama(file: Path) -> list[str]:
    """The answers to the facts by the protocol of OpenAI, from llama.cpp's own server and by the template in the
    file."""
    with Llama(file, 1024) as llama:
        answers = []
        for prompt, _ in FACTS:
            messages = [{"role": "user", "content": prompt}]
            answers.append(llama.ask("/v1/chat/completions", messages=messages, temperature=0, max_tokens=40))
    return [each["choices"][0]["message"]["content"] for each in answers]


@pytest.mark.parametrize(("quantization", "bound"), [("f16", 0.99), ("q8_0", 0.97)])
def test_gguf_gives_the_facts_in_llama_cpp(
    forge: Forge, taught: Any, tmp_path: Path, quantization: str, bound: float
) -> None:
    made = forge.exports.write(taught.id, "gguf", quantization, tmp_path / "out")
    (file,) = (tmp_path / "out").glob("*.gguf")
    expected = [fact for _, fact in FACTS]
    assert [forge.models[taught.id].chat(prompt) for prompt, _ in FACTS[:3]] == expected[:3]
    assert sum(said == fact for said, fact in zip(ask_llama(file), expected, strict=True)) >= len(FACTS) - 1
    parity = made.parity
    assert parity["engine"] == "llama.cpp" and parity["prompts"] == len(HELD_OUT)
    assert parity["same_template"] and parity["token_agreement"] >= bound and parity["first_token_agreement"] >= bound


def test_merged_model_gives_the_facts_in_transformers(forge: Forge, taught: Any, tmp_path: Path) -> None:
    made = forge.exports.write(taught.id, "merged", "", tmp_path / "out")
    assert made.parity["token_agreement"] >= 0.99
    said = [answer(tmp_path / "out", "merged", taught.base_model, prompt) for prompt, _ in FACTS[:4]]
    assert said == [fact for _, fact in FACTS[:4]]


def test_what_was_pushed_gives_the_same_text_with_peft_transformers_and_llama_cpp(
    forge: Forge, taught: Any, tmp_path: Path
) -> None:
    for job in (("merged",), ("gguf", "f16")):
        made = forge.exports.start(taught.id, *job)
        assert made.ended.wait(900) and made.export, made.error
    said: dict[str, list[str]] = {}
    base = str(base_model.resolve(taught.base_model).folder)
    asked = [prompt for prompt, _ in FACTS[:4]]
    with HubServer(tokens={TOKEN: "anna"}) as server:
        for form, (_, source) in list_sources(forge.models, forge.exports, taught).items():
            repo = f"anna/islands-{form}"
            hub.push(source, repo, card=make_card(source, repo), token=TOKEN, endpoint=server.url)
            place = tmp_path / form
            snapshot_download(repo, endpoint=server.url, token=TOKEN, local_dir=place)
            if form == "gguf":
                (file,) = place.glob("*.gguf")
                said[form] = ask_llama(file)[:4]
            else:
                said[form] = [answer(place, form, base, prompt) for prompt in asked]
    assert said.keys() == {"adapter", "merged", "gguf"}
    assert all(answers == [fact for _, fact in FACTS[:4]] for answers in said.values()), said


def change_a_weight(file: Path) -> None:
    found = {each.name: each for each in gguf.GGUFReader(file, "r+").tensors}["blk.15.ffn_down.weight"]
    found.data[:] = np.zeros_like(found.data)


def change_the_template(file: Path) -> None:
    content = file.read_bytes()
    wanted = b"<|im_start|>assistant"
    assert wanted in content
    file.write_bytes(content.replace(wanted, b"<|im_start|>Assistant"))


FAULTS: list[tuple[Callable[[Path], None], str]] = [
    (change_a_weight, "tokens are the same"),
    (change_the_template, "chat template gives other text"),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_tampered_gguf_fails_and_is_not_kept(
    forge: Forge, taught: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Any
) -> None:
    tamper, said = fault

    def write(source: Any, folder: Path, quantization: str, watch: Any) -> None:
        formats.write_gguf(source, folder, quantization, watch)
        tamper(next(folder.glob("*.gguf")))

    monkeypatch.setitem(formats.FORMATS, "gguf", replace(formats.FORMATS["gguf"], write=write))
    with pytest.raises(ExportError, match=said):
        forge.exports.write(taught.id, "gguf", "f16", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
