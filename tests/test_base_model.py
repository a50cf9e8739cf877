"""From a base model's name to its files; what cannot work is refused with the reason before weights are fetched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from modelforge import base_model, catalog, loading, starter
from modelforge.architecture import ARCHITECTURES, DECODER, ENCODER, Architecture
from modelforge.base_model import BaseModel
from modelforge.errors import BaseModelError, ModelForgeError
from modelforge.recipe import STARTER, Task
from modelforge.tasks import TASKS
from tests import tiny

GENERATION = Task.TEXT_GENERATION
HOSTILE = [
    "; touch x",
    "../..",
    "a/b/c",
    "$(touch x)",
    "a b",
    "",
    "/etc",
    "..",
    "~nobody-of-that-name/x",
    "x" * 5000,
    "a--b",
    "-x",
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_base(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(base, tmp_path / "copy"))


def config_folder(place: Path, config: Any) -> Path:
    """A folder with that config and weights that nobody may read."""
    place.mkdir(parents=True)
    (place / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    (place / "model.safetensors").write_bytes(b"not weights")
    (place / "tokenizer.json").write_text("{}")
    return place


def refused(name: str | Path, task: Task = GENERATION) -> ModelForgeError:
    with pytest.raises(BaseModelError) as caught:
        base_model.check(str(name), task)
    assert caught.value.fix
    with pytest.raises(BaseModelError):
        base_model.resolve(str(name), task)
    return caught.value


# ---- names -----------------------------------------------------------------------------------------------------


def test_folder_is_found_by_absolute_and_relative_path(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(base.parent)
    for name in (str(base), "tiny", "./tiny"):
        found = base_model.resolve(name, GENERATION)
        assert found == BaseModel(str(base), base, f"folder {base}")
        assert base_model.canonical(name) == str(base)
    assert base_model.canonical(STARTER) == STARTER


@pytest.mark.parametrize("name", HOSTILE)
def test_audit_08_name_that_is_none_starts_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    refused(name)
    assert sorted(tmp_path.rglob("*")) == before


def test_hub_id_without_a_hub_is_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    error = refused("some/model")
    assert "switched off" in error.what and "starter" in error.fix


def test_address_of_a_model_is_told_how_to_write_it() -> None:
    assert refused("https://huggingface.co/Qwen/Qwen3-0.6B/tree/main").fix == "Write only Qwen/Qwen3-0.6B."


def test_starter_comes_before_the_hub(home: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base_model.check(STARTER, GENERATION)  # not fetched, and nothing is fetched for it
    assert not home.exists()
    target = starter.folder(STARTER)
    shutil.copytree(base, target)
    (target / starter.NOTE).write_text("{}")
    found = base_model.resolve(STARTER, GENERATION)
    assert (found.id, found.folder) == (STARTER, target)
    assert "not the original weights" in found.source


# ---- audit 20: what cannot do the task -------------------------------------------------------------------------

WRITES = [Task.TEXT_GENERATION, Task.SUMMARIZATION]
SPANS = [Task.EXTRACTIVE_QUESTION_ANSWERING]
T5 = {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "is_encoder_decoder": True}
BERT = {"architectures": ["BertForMaskedLM"], "model_type": "bert"}
LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
GEMMA = {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "vision_config": {}}
FOREIGN = {"architectures": ["XForCausalLM"], "model_type": "x", "auto_map": {"AutoModelForCausalLM": "x.X"}}
HEADLESS = {"architectures": ["LlamaModel"], "model_type": "llama"}
UNFIT: dict[str, tuple[dict[str, Any], list[Task], str]] = {
    "T5": (T5, [Task.TEXT_GENERATION, *SPANS], "which reads with an encoder before it writes"),
    "T5 without a type": ({**T5, "model_type": None}, [Task.TEXT_GENERATION, *SPANS], "encoder before it writes"),
    "BART": ({"architectures": ["BartModel"], "model_type": "bart", "is_encoder_decoder": True}, SPANS, "an encoder"),
    "speech": ({"model_type": "whisper", "is_encoder_decoder": True}, list(Task), "not a text-to-text model"),
    "BERT": (BERT, WRITES, "which reads a whole text and does not write any"),
    "BERT without a type": ({"architectures": ["BertForMaskedLM"]}, WRITES, "does not write any"),
    "headless encoder": ({"architectures": ["BertModel"], "model_type": "bert"}, WRITES, "does not write any"),
    "span head": ({"architectures": ["BertForQuestionAnswering"]}, WRITES, "does not write any"),
    "encoder without a span head": (
        {"architectures": ["EuroBertForMaskedLM"], "model_type": "eurobert"},
        list(Task),
        "which has no question answering head in transformers",
    ),
    "decoder": (LLAMA, SPANS, "which writes text from left to right"),
    "headless decoder": (HEADLESS, list(Task), "which does not have a head that writes text"),
    "headless decoder without a type": ({"architectures": ["LlamaModel"]}, list(Task), "does not have a head"),
    "classifier": (
        {"architectures": ["LlamaForSequenceClassification"], "model_type": "llama"},
        list(Task),
        "was not made for writing text",
    ),
    "pictures": ({"architectures": ["ViTForImageClassification"], "model_type": "vit"}, list(Task), "neither writes"),
    "pages": ({"architectures": ["LayoutLMv3Model"], "model_type": "layoutlmv3"}, list(Task), "neither writes"),
    "text and pictures": (GEMMA, list(Task), "which also reads images or audio"),
    "own code": (FOREIGN, list(Task), "a type that transformers does not support"),
    "unknown": ({"model_type": "mystery"}, list(Task), "a type that transformers does not support"),
    "hostile class": ({"architectures": "LlamaForCausalLM"}, list(Task), "neither writes"),
    "hostile type": ({**LLAMA, "model_type": ["llama"]}, list(Task), "does not support"),
    "numbers": ({"architectures": [1, None]}, list(Task), "neither writes"),
}


@pytest.mark.parametrize(("kind", "task"), [(kind, task) for kind, (_, tasks, _) in UNFIT.items() for task in tasks])
def test_audit_20_architecture_that_cannot_do_the_task_is_refused_with_the_reason(
    tmp_path: Path, kind: str, task: Task
) -> None:
    config, _, reason = UNFIT[kind]
    error = refused(config_folder(tmp_path / "model", config), task)
    assert reason in error.what
    assert task.value in error.fix
    assert all(ARCHITECTURES[name].example in error.fix for name in TASKS[task].architectures)
    if isinstance(config.get("architectures"), list) and isinstance(config["architectures"][0], str):
        assert config["architectures"][0] in error.what


@pytest.mark.parametrize("name", ["LlamaForCausalLM", "Qwen3ForCausalLM", "GPT2LMHeadModel", "Gemma3ForCausalLM"])
def test_audit_20_decoders_are_accepted(tmp_path: Path, name: str) -> None:
    folder = config_folder(tmp_path / "model", {"architectures": [name]})
    assert base_model.check(str(folder), GENERATION) is DECODER


def test_text_part_of_a_model_of_text_and_pictures_is_the_same_decoder(tmp_path: Path) -> None:
    """Where a type is taken for a decoder though it sees, its text part loads by itself and writes the same."""
    import torch
    from transformers.models.qwen3_5 import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
    heads = {
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    }
    rope = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5, "mrope_section": [1, 1, 0]}
    text = {
        "vocab_size": 64,
        "num_hidden_layers": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "tie_word_embeddings": True,
    }
    vision = {"depth": 1, "hidden_size": 32, "num_heads": 4, "intermediate_size": 64, "out_hidden_size": 32}
    torch.manual_seed(0)
    whole = Qwen3_5ForConditionalGeneration(
        Qwen3_5Config(text_config=sizes | heads | text | {"rope_parameters": rope}, vision_config=vision)
    ).eval()
    whole.save_pretrained(tmp_path / "model")
    base = BaseModel("seeing", tmp_path / "model", "")
    assert base_model.architecture_of(base, GENERATION) is DECODER
    part = loading.load_model(base, dtype="float32", device="cpu").eval()
    tokens = torch.arange(12).reshape(2, 6)
    with torch.no_grad():
        assert torch.equal(part(input_ids=tokens).logits, whole(input_ids=tokens).logits)
    assert not any("visual" in name for name, _ in part.named_parameters())


# What the config.json of each base model of the catalogue says of its architecture.
QWEN3_5 = ("Qwen3_5ForConditionalGeneration", "qwen3_5")
QWEN3 = ("Qwen3ForCausalLM", "qwen3")
ROBERTA = ("RobertaForMaskedLM", "roberta")
MODERN_BERT = ("ModernBertForMaskedLM", "modernbert")
XLM = ("XLMRobertaForMaskedLM", "xlm-roberta")
FLAN = ("T5ForConditionalGeneration", "t5")
T5_GEMMA = ("T5GemmaForConditionalGeneration", "t5gemma")
LISTED = {
    "Qwen/Qwen3-32B": QWEN3,
    "mistralai/Mistral-Small-24B-Instruct-2501": ("MistralForCausalLM", "mistral"),
    "Qwen/Qwen3-14B": QWEN3,
    "microsoft/phi-4": ("Phi3ForCausalLM", "phi3"),
    "ibm-granite/granite-4.1-8b": ("GraniteForCausalLM", "granite"),
    "Qwen/Qwen3-8B": QWEN3,
    "Qwen/Qwen3.5-9B": QWEN3_5,
    "allenai/Olmo-3-7B-Instruct": ("Olmo3ForCausalLM", "olmo3"),
    "Qwen/Qwen3-4B-Instruct-2507": QWEN3,
    "Qwen/Qwen3.5-4B": QWEN3_5,
    "microsoft/Phi-4-mini-instruct": ("Phi3ForCausalLM", "phi3"),
    "ibm-granite/granite-4.1-3b": ("GraniteForCausalLM", "granite"),
    "HuggingFaceTB/SmolLM3-3B": ("SmolLM3ForCausalLM", "smollm3"),
    "google/flan-t5-xl": FLAN,
    "Qwen/Qwen3-1.7B": QWEN3,
    "Qwen/Qwen3.5-2B": QWEN3_5,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": ("LlamaForCausalLM", "llama"),
    "Qwen/Qwen2.5-1.5B-Instruct": ("Qwen2ForCausalLM", "qwen2"),
    "allenai/OLMo-2-0425-1B-Instruct": ("Olmo2ForCausalLM", "olmo2"),
    "google/flan-t5-large": FLAN,
    "Qwen/Qwen3-0.6B": QWEN3,
    "Qwen/Qwen3.5-0.8B": QWEN3_5,
    "facebook/bart-large-cnn": ("BartForConditionalGeneration", "bart"),
    "facebook/bart-large-xsum": ("BartForConditionalGeneration", "bart"),
    "Qwen/Qwen2.5-0.5B-Instruct": ("Qwen2ForCausalLM", "qwen2"),
    "google/flan-t5-base": FLAN,
    "HuggingFaceTB/SmolLM2-360M-Instruct": ("LlamaForCausalLM", "llama"),
    "facebook/bart-base": ("BartModel", "bart"),
    "HuggingFaceTB/SmolLM2-135M-Instruct": ("LlamaForCausalLM", "llama"),
    "google/flan-t5-small": FLAN,
    "meta-llama/Llama-3.1-8B-Instruct": ("LlamaForCausalLM", "llama"),
    "google/t5gemma-2b-2b-prefixlm-it": T5_GEMMA,
    "meta-llama/Llama-3.2-3B-Instruct": ("LlamaForCausalLM", "llama"),
    "meta-llama/Llama-3.2-1B-Instruct": ("LlamaForCausalLM", "llama"),
    "google/gemma-3-1b-it": ("Gemma3ForCausalLM", "gemma3_text"),
    "google/t5gemma-b-b-prefixlm-it": T5_GEMMA,
    "google/gemma-3-270m-it": ("Gemma3ForCausalLM", "gemma3_text"),
    "answerdotai/ModernBERT-large": MODERN_BERT,
    "FacebookAI/xlm-roberta-large": XLM,
    "FacebookAI/roberta-large": ROBERTA,
    "answerdotai/ModernBERT-base": MODERN_BERT,
    "deepset/roberta-base-squad2": ("RobertaForQuestionAnswering", "roberta"),
    "FacebookAI/roberta-base": ROBERTA,
    "FacebookAI/xlm-roberta-base": XLM,
    "google-bert/bert-base-multilingual-cased": ("BertForMaskedLM", "bert"),
    "google-bert/bert-base-uncased": ("BertForMaskedLM", "bert"),
    "distilbert/distilbert-base-uncased": ("DistilBertForMaskedLM", "distilbert"),
    "sentence-transformers/all-MiniLM-L6-v2": ("BertModel", "bert"),
}


def test_audit_20_the_architecture_of_every_base_model_of_the_catalogue_is_told_here() -> None:
    assert list(LISTED) == [entry.id for entry in catalog.entries()]


@pytest.mark.parametrize("entry", catalog.entries(), ids=lambda entry: entry.id)
def test_audit_20_every_base_model_we_recommend_passes_the_check_of_typed_ones(
    tmp_path: Path, entry: catalog.Entry
) -> None:
    name, kind = LISTED[entry.id]
    config = {
        "architectures": [name],
        "model_type": kind,
        "is_encoder_decoder": entry.architecture == "encoder-decoder",
    }
    if kind == "qwen3_5":
        config |= {"vision_config": {}, "text_config": {"max_position_embeddings": entry.context}}
    folder = config_folder(tmp_path / "model", config)
    for task in Task:
        if task in entry.tasks:
            found = base_model.check(str(folder), task)
            assert found and found.name == entry.architecture
        else:
            refused(folder, task)


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=lambda architecture: architecture.name)
def test_audit_20_each_example_that_a_refusal_names_is_in_the_catalogue(architecture: Architecture) -> None:
    entry = catalog.find(architecture.example)
    assert entry and entry.architecture == architecture.name and not entry.gated


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "fp8", None])
def test_packed_weights_are_refused(tmp_path: Path, method: str | None) -> None:
    packed = {"quant_method": method} if method else True
    error = refused(config_folder(tmp_path / "model", {**LLAMA, "quantization_config": packed}))
    assert "already quantized" in error.what and (method or "") in error.what and "qlora" in error.fix


@pytest.mark.parametrize("config", ["", "{", "[]", "null", "3", "[" * 100_000])
def test_config_that_is_none_is_refused(tmp_path: Path, config: str) -> None:
    assert "config.json" in refused(config_folder(tmp_path / "model", config)).what


def test_folder_without_a_config_is_no_model(tmp_path: Path) -> None:
    assert "no config.json" in refused(tmp_path).what


def test_adapter_and_gguf_are_told_apart_from_models(tmp_path: Path) -> None:
    for file, what in (("adapter_config.json", "is an adapter"), ("model-q4.gguf", "only as GGUF")):
        folder = tmp_path / file
        folder.mkdir()
        (folder / file).write_text("{}")
        (folder / "adapter_model.safetensors").write_bytes(b"")
        assert what in refused(folder).what


def test_weights_that_could_run_code_are_refused(copy: Path) -> None:
    next(copy.glob("*.safetensors")).rename(copy / "pytorch_model.bin")
    error = refused(copy)
    assert "safetensors" in error.what and "run code" in error.fix


def test_weights_that_are_there_in_part_are_refused(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.rename(copy / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert "lacks 1 of its weight files, among them model-00002-of-00002" in refused(copy).what


def test_model_without_a_tokenizer_is_refused(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    assert "no tokenizer" in refused(copy).what


def test_folder_is_described_without_loading_it(base: Path) -> None:
    found = base_model.look(str(base), GENERATION)
    assert (found.verdict, found.place, found.architecture) == ("good", "here", DECODER)
    assert found.parameters == sum(part.numel() for part in tiny.model().parameters())
    assert found.weight_bytes == (base / "model.safetensors").stat().st_size
    assert (found.context, found.has_chat_template, found.gated) == (512, True, False)
    assert found.sentence == f"A decoder of 0M parameters, on this machine ({found.weight_bytes / 1e3:.3g} kB)."


def test_missing_chat_template_is_a_note_and_no_refusal(copy: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    found = base_model.look(str(copy), GENERATION)
    assert (found.verdict, found.has_chat_template) == ("good", False)
    assert "no chat template; a plain one will be used" in found.sentence


@pytest.mark.parametrize("name", ["../..", "a b", "/etc", "x" * 5000, "", "some/model", STARTER, "\0"])
def test_look_never_raises_and_always_says_something(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for task in Task:
        found = base_model.look(name, task)
        assert found.sentence.endswith(".")
        assert (found.verdict == "bad") == (found.error is not None)


@pytest.mark.parametrize(("starter_id", "task"), [(STARTER, GENERATION), (ENCODER.example, SPANS[0])])
def test_starter_that_is_not_fetched_is_described_from_the_catalogue(starter_id: str, task: Task, home: Path) -> None:
    found = base_model.look(starter_id, task)
    assert (found.verdict, found.place) == ("good", "package index")
    assert "works without the Hub" in found.sentence
    assert not home.exists()
