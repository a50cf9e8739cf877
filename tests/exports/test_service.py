"""A model is exported whole and checked, or nothing is written and a sentence says why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge, errors, paths
from modelforge.caller import Caller, acting_as
from modelforge.errors import DiskFullError, ExportError, NotFoundError, RecipeError, RunStateError
from modelforge.exports import service
from modelforge.exports.formats import FORMATS
from modelforge.recipe import Recipe
from tests import tiny

Tamper = Callable[[Path], None]


@pytest.fixture
def taught(forge: Forge, tiny_base: Path, tmp_path: Path) -> Any:
    """A model with held-out rows."""
    dataset = forge.datasets.resolve(str(tiny.write_rows(tmp_path / "rows.jsonl", tiny.PAIRS)), Recipe())
    return tiny.finish_model(forge, tiny_base, dataset_id=dataset.id)


def left(forge: Forge, out: Path) -> list[Path]:
    """What an export that failed has left: nothing, but for the folder that was there."""
    assert forge.exports.all() == []
    places = [place for place in (out.parent, paths.home() / "exports") if place.exists()]
    return [path for place in places for path in place.iterdir() if path.name.startswith((".", out.name))]


def tamper_with(monkeypatch: pytest.MonkeyPatch, format: str, tamper: Tamper) -> None:
    def write(source: Any, folder: Path, quantization: str, watch: Any) -> None:
        FORMATS_BEFORE[format].write(source, folder, quantization, watch)
        tamper(folder)

    monkeypatch.setitem(FORMATS, format, replace(FORMATS[format], write=write))


FORMATS_BEFORE = dict(FORMATS)


@pytest.mark.parametrize("format", ["adapter", "merged"])
def test_exported_model_answers_as_it_did(forge: Forge, taught: Any, tmp_path: Path, format: str) -> None:
    steps: list[tuple[str, float]] = []
    made = forge.exports.write(taught.id, format, "", tmp_path / "out", lambda *step: steps.append(step))
    parity = made.parity
    assert parity["ok"] and parity["same_template"] and parity["token_agreement"] == 1 and parity["same_text"] == 1
    assert parity["prompts"] >= 8 and parity["tokens"] > 30 and parity["notes"] == []
    assert {each["name"] for each in made.files} == {path.name for path in (tmp_path / "out").iterdir()}
    assert [share for _, share in steps] == sorted(share for _, share in steps)
    assert {step for step, _ in steps} == set(service.TITLES)
    prompt = "What colour is the lamp of house 0?"
    assert answer(tmp_path / "out", format, taught.base_model, prompt) == forge.models[taught.id].chat(prompt)


def answer(folder: Path, format: str, base: str, prompt: str) -> str:
    """As others load it."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base if format == "adapter" else folder)
    model = PeftModel.from_pretrained(model, folder) if format == "adapter" else model
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "user", "content": prompt}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    written = model.generate(**ids, max_new_tokens=256, do_sample=False)[0, ids["input_ids"].shape[1] :]
    return str(tokenizer.decode(written, skip_special_tokens=True))


def change_a_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"] *= -1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def change_the_template(folder: Path) -> None:
    text = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(text.replace("<|im_start|>assistant\n", "<|im_start|>assistant"))


FAULTS: list[tuple[Tamper, str]] = [
    (change_a_weight, "tokens are the same"),
    (change_the_template, "chat template gives other"),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_files_that_answer_otherwise_are_not_kept(
    forge: Forge, taught: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: tuple[Tamper, str]
) -> None:
    tamper, said = fault
    tamper_with(monkeypatch, "merged", tamper)
    with pytest.raises(ExportError, match=said) as caught:
        forge.exports.write(taught.id, "merged", "", tmp_path / "out")
    assert "The first other one" in caught.value.what or "became" in caught.value.what
    assert left(forge, tmp_path / "out") == []


def test_full_disk_deleted_model_and_cancel_leave_nothing(
    forge: Forge, taught: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def cancel(step: str, share: float) -> None:
        if step == "check":
            raise CancelledError

    with pytest.raises(CancelledError):
        forge.exports.write(taught.id, "merged", "", out, cancel)
    assert left(forge, out) == []
    with monkeypatch.context() as patch:
        patch.setattr(errors.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
        with pytest.raises(DiskFullError, match="disk space"):
            forge.exports.write(taught.id, "merged", "", out)
    assert left(forge, out) == []

    def delete(step: str, share: float) -> None:
        if step == "check" and forge.models.all():
            forge.models.delete(taught.id)

    with pytest.raises(NotFoundError):
        forge.exports.write(taught.id, "merged", "", out, delete)
    assert left(forge, out) == []


def test_run_that_starts_ends_an_export(forge: Forge, taught: Any, tmp_path: Path) -> None:
    forge.exports._refuse_busy = lambda: (_ for _ in ()).throw(RunStateError("A run is in progress."))
    with pytest.raises(RunStateError):
        forge.exports.write(taught.id, "merged", "", tmp_path / "out")
    assert left(forge, tmp_path / "out") == []


def test_what_does_not_go_together_is_said_before_anything_is_loaded(forge: Forge, taught: Any, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    encoder = forge.store.models.add(taught.model_copy(update={"id": paths.new_id("model"), "architecture": "encoder"}))
    whole = forge.store.models.add(taught.model_copy(update={"id": paths.new_id("model"), "tuning": "full"}))
    tried: list[tuple[str, str, str, str, type[Exception], str]] = [
        (taught.id, "merged", "", "full", ExportError, "something there already"),
        (taught.id, "onnx", "", "out", RecipeError, "no format 'onnx'"),
        (taught.id, "merged", "q8_0", "out", RecipeError, "has no quantization"),
        (taught.id, "gguf", "q9", "out", RecipeError, "no quantization 'q9'"),
        (encoder.id, "gguf", "", "out", ExportError, "for models that chat"),
        (whole.id, "adapter", "", "out", ExportError, "it has no adapter"),
        ("nothing", "merged", "", "out", NotFoundError, "no model 'nothing'"),
    ]
    for model, format, quantization, out, error, said in tried:
        with pytest.raises(error, match=said):
            forge.exports.write(model, format, quantization, tmp_path / out)
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
    assert not (tmp_path / "out").exists()


def test_export_in_the_background_is_kept_shown_to_its_owner_and_deleted_with_the_model(
    forge: Forge, taught: Any
) -> None:
    job = forge.exports.start(taught.id, "adapter")
    with pytest.raises(RunStateError, match="Another export"):
        forge.exports.start(taught.id, "merged")
    assert job.ended.wait(120) and not job.error
    (made,) = forge.exports.all(taught.id)
    assert made == job.export and made.parity["ok"]
    assert (forge.exports.path(made) / "adapter_model.safetensors").stat().st_size > 0
    with acting_as(Caller("bert", "bert", is_owner=False)):
        assert forge.exports.all() == [] and forge.exports.find_job(taught.id) is None
    forge.models.delete(taught.id)
    assert forge.exports.all() == [] and not forge.exports.path(made).exists()


def test_background_export_that_fails_says_why(forge: Forge, taught: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tamper_with(monkeypatch, "adapter", lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"no"))
    job = forge.exports.start(taught.id, "adapter")
    assert job.ended.wait(120)
    assert "adapter" in job.error and "Traceback" not in job.error
    assert forge.exports.all() == [] and not list((paths.home() / "exports").iterdir())


@pytest.mark.parametrize("quantization", ["f16"])
def test_gguf_answers_in_llama_cpp_as_the_model_does(
    forge: Forge, known_base: Path, tmp_path: Path, quantization: str
) -> None:
    pytest.importorskip("xllamacpp")
    dataset = forge.datasets.resolve(str(tiny.write_rows(tmp_path / "rows.jsonl", tiny.PAIRS)), Recipe())
    record = tiny.finish_model(forge, known_base, dataset_id=dataset.id)
    made = forge.exports.write(record.id, "gguf", quantization, tmp_path / "out")
    assert made.parity["engine"] == "llama.cpp" and made.parity["token_agreement"] >= 0.99
    assert made.parity["same_template"] and made.parity["largest_loss_change"] < 0.05
    assert [each["name"] for each in made.files] == ["Modelfile", "colours-F16.gguf"]
    assert json.loads(made.model_dump_json())["parity"]["ok"]
