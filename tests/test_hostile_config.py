"""The config.json of a stranger's model: what it may not say is one sentence, and what it may not do is left out."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from modelforge import base_model, cli, loading
from modelforge.architecture import DECODER
from modelforge.base_model import BaseModel
from modelforge.base_model.config import MOST_BYTES, parse_config, read_config
from modelforge.errors import BaseModelError
from modelforge.planner.plan import plan
from modelforge.recipe import Task
from tests import tiny
from tests.machine import measured, probed

__all__ = ["measured", "probed"]

KERNEL = "kernels-community/flash-attn"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_base(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "copy"))


def change(folder: Path, **changes: Any) -> BaseModel:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return BaseModel(str(folder), folder, "")


# ---- what it may not do ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"_attn_implementation": KERNEL},
        {"attn_implementation": KERNEL},
        {"_attn_implementation_internal": KERNEL},
        {"_attn_implementation": {"": KERNEL}},
        {"_experts_implementation": KERNEL},
        {"use_kernels": True, "kernel_config": {"kernel_mapping": {"RMSNorm": KERNEL}}},
        {"auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "anna/evil--evil.Model"}},
        {"configuration_files": ["config.9.0.0.json", "config.1.0.0.json"]},
        {"transformers_weights": "../../elsewhere.safetensors"},
        {"fusion_config": {"patch_embeddings": True}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_model_loads_with_our_own_attention_whatever_its_config_names(copy: Path, changes: dict[str, Any]) -> None:
    (copy / "config.1.0.0.json").write_text('{"model_type": "llama", "hidden_size": 8}')
    changed = change(copy, **changes)
    for attention in ("sdpa", "eager"):
        model = loading.load_model(changed, dtype="float32", device="cpu", attention=attention)
        assert model.config._attn_implementation == attention
    assert KERNEL not in json.dumps(loading.load_config(changed).to_dict())
    assert loading.load_config(changed).hidden_size == 32
    assert loading.load_tokenizer(copy, "copy").is_fast


def test_parts_of_a_config_name_no_kernel_either() -> None:
    part = {"_attn_implementation": KERNEL, "hidden_size": 8, "deeper": [{"attn_implementation": KERNEL}]}
    content = json.dumps({"model_type": "qwen3_5", "text_config": part, "vision_config": part}).encode()
    assert KERNEL not in json.dumps(parse_config(content, "a", "b", 0))


def test_attention_of_a_model_of_two_parts_is_ours(tmp_path: Path) -> None:
    """Parts get the attention that is chosen for the whole, not that of their own config."""
    folder = tiny.write_text_to_text(tmp_path / "two")
    changed = change(folder, _attn_implementation=KERNEL)
    model = loading.load_model(changed, dtype="float32", device="cpu", attention="eager")
    assert model.config._attn_implementation == model.encoder.config._attn_implementation == "eager"


@pytest.mark.parametrize("place", ["whole", "part"])
def test_weights_that_are_packed_are_refused_however_they_are_loaded(copy: Path, place: str) -> None:
    packed = {"quantization_config": {"quant_method": "mxfp4"}}
    changed = change(copy, **(packed if place == "whole" else {"text_config": packed}))
    for load in (
        lambda: loading.load_model(changed, dtype="float32", device="cpu"),
        lambda: loading.load_config(changed),
    ):
        with pytest.raises(BaseModelError, match=r"already quantized \(mxfp4\)"):
            load()


# ---- what it may not say ---------------------------------------------------------------------------------------

HOSTILE: dict[str, dict[str, Any]] = {
    "layers": {"num_hidden_layers": 10**9},
    "many layers": {"num_hidden_layers": 100_000},
    "negative layers": {"num_hidden_layers": -1},
    "no layers": {"num_hidden_layers": 0},
    "no heads": {"num_attention_heads": 0},
    "no key heads": {"num_key_value_heads": 0},
    "negative width": {"hidden_size": -5},
    "infinite width": {"hidden_size": float("inf")},
    "no number": {"rms_norm_eps": float("nan")},
    "width": {"hidden_size": 1_000_000},
    "vocabulary": {"vocab_size": 10**12},
    "inner width": {"intermediate_size": 9_999_999},
    "wide heads": {"head_dim": 10**9},
    "labels": {"num_labels": 10**9},
    "positions": {"max_position_embeddings": 10**9},
    "long number": {"vocab_size": 10**4000},
    "text": {"hidden_size": "wide"},
    "list": {"layer_types": 5},
    "kinds of layers": {"layer_types": ["x", "y"]},
    "object": {"rope_parameters": 7},
    "dtype": {"dtype": "evil"},
    "labels that are none": {"id2label": 3},
    "own parts": {"sub_configs": 5},
    "types": {"model_type": ["llama"]},
}
CONTENTS: dict[str, bytes] = {
    "nested": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "nested a little": b'{"model_type": "llama", "a": ' + b"[" * 20 + b"]" * 20 + b"}",
    "large": b'{"a": "' + b"x" * MOST_BYTES + b'"}',
    "long digits": b'{"model_type": "llama", "hidden_size": ' + b"9" * 10_000 + b"}",
    "overflow": b'{"model_type": "llama", "hidden_size": 1e999}',
    "binary": bytes(range(256)),
}


@pytest.mark.parametrize("changes", HOSTILE.values(), ids=HOSTILE)
def test_wrong_values_are_one_sentence_for_whoever_loads_them(copy: Path, changes: dict[str, Any]) -> None:
    changed = change(copy, **changes)
    for load in (
        lambda: loading.load_config(changed),
        lambda: loading.load_tokenizer(copy, "copy"),
        lambda: loading.load_model(changed, dtype="float32", device="cpu", architecture=DECODER),
    ):
        with pytest.raises(BaseModelError) as caught:
            load()
        assert len(str(caught.value)) < 600 and caught.value.fix


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_content_that_is_no_config_is_one_sentence(copy: Path, content: bytes) -> None:
    (copy / "config.json").write_bytes(content)
    with pytest.raises(BaseModelError) as caught:
        read_config(copy, "copy")
    assert "config.json of copy" in caught.value.what
    assert base_model.look(str(copy), Task.TEXT_GENERATION).verdict == "bad"


def write_recipe(folder: Path, place: Path) -> Path:
    rows = tiny.write_rows(place / "rows.jsonl")
    path = place / "recipe.yaml"
    path.write_text(f"base_model: {folder}\ntask: text-generation\ndataset: {rows}\nmax_steps: 1\n")
    return path


@pytest.mark.parametrize("kind", ["layers", "no key heads", "text", "dtype", "list", "width"])
def test_commands_end_with_the_sentence_and_exit_1(
    probed: Path, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    change(copy, **HOSTILE[kind])
    recipe = write_recipe(copy, tmp_path)
    for command in ("plan", "train"):
        assert cli.main([command, str(recipe)]) == 1
        said = capsys.readouterr().err
        assert "Traceback" not in said and str(copy) in said


@pytest.mark.parametrize(
    "changes",
    [
        {"pad_token_id": 99_999_999},
        {"hidden_act": "nonsense"},
        {"attention_dropout": 7.5},
        {"rope_parameters": {"rope_type": "evil", "rope_theta": 0}},
        {"head_dim": 3},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_model_that_cannot_be_built_is_estimated(
    probed: Path, copy: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Its values have their types, so only building it shows that it does not work."""
    change(copy, **changes)
    assert plan(tiny.recipe(copy, "")).memory


@pytest.mark.slow
def test_largest_hostile_config_takes_neither_memory_nor_time(copy: Path, tmp_path: Path) -> None:
    """What is let through at the bounds takes less than 2 GB and 20 s of a processor to refuse or to plan."""
    change(copy, num_hidden_layers=300, vocab_size=1_500_000, max_position_embeddings=20_000_000)
    code = f"""
from modelforge import loading
from modelforge.base_model import BaseModel
from modelforge.errors import BaseModelError
from modelforge.compute.memory import PeakMeter
from pathlib import Path
import modelforge.training.run, time
before = time.process_time()
with PeakMeter("cpu") as meter:
    try:
        loading.load_model(BaseModel("a", Path({str(copy)!r}), ""), dtype="float32", device="cpu")
    except BaseModelError:
        pass
print(time.process_time() - before, meter.peak_bytes)
"""
    if not psutil.LINUX:
        pytest.skip("resident memory is counted otherwise here")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, peak_bytes = map(float, done.stdout.split())
    assert seconds < 20 and peak_bytes < 2e9


# ---- what it may say -------------------------------------------------------------------------------------------

# Numbers from the config.json of published models at the edge of what there is; GB of their weights.
PUBLISHED = {
    "Llama 3.1 405B": (
        {"num_hidden_layers": 126, "hidden_size": 16384, "intermediate_size": 53248, "vocab_size": 128256}
        | {"num_attention_heads": 128, "num_key_value_heads": 8, "max_position_embeddings": 131072},
        810,
    ),
    "Kimi K2": (
        {"num_hidden_layers": 61, "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048}
        | {"n_routed_experts": 384, "n_shared_experts": 1, "vocab_size": 163840, "num_nextn_predict_layers": 0},
        1030,
    ),
    "ALBERT xxlarge": (
        {"num_hidden_layers": 12, "hidden_size": 4096, "intermediate_size": 16384, "vocab_size": 30000}
        | {"embedding_size": 128, "num_attention_heads": 64, "inner_group_num": 1, "net_structure_type": 0},
        0.446,
    ),
    "ALBERT base": (
        {"num_hidden_layers": 12, "hidden_size": 768, "intermediate_size": 3072, "vocab_size": 30000},
        0.047,
    ),
    "DeBERTa v3": ({"max_relative_positions": -1, "position_buckets": 256, "type_vocab_size": 0}, 0.7),
    "mT5 XXL": ({"d_model": 4096, "d_ff": 10240, "d_kv": 64, "num_layers": 24, "vocab_size": 250112}, 52),
    "Mamba 2": ({"time_step_limit": [0.0, float("inf")], "time_step_rank": "auto", "state_size": 128}, 5),
    "Gemma 3n": ({"intermediate_size": [16384] * 35, "hidden_size": 2048, "num_hidden_layers": 35}, 16),
    "Llama 4 Scout": ({"max_position_embeddings": 10485760, "rope_theta": 500000.0, "num_local_experts": 16}, 217),
}


@pytest.mark.parametrize("model", PUBLISHED)
def test_published_models_are_within_the_bounds(model: str) -> None:
    config, gigabytes = PUBLISHED[model]
    assert parse_config(json.dumps(config).encode(), model, "", round(gigabytes * 1e9)) == config


def test_config_is_otherwise_as_transformers_reads_it(base: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig

    encoder = tiny.write_encoder(tmp_path / "encoder")
    two = tiny.write_text_to_text(tmp_path / "two")
    mixed = Path(shutil.copytree(base, tmp_path / "mixed"))
    change(mixed, model_type="mistral", layer_types=["full_attention", "sliding_attention"])
    for folder in (base, encoder, two, mixed):
        found = loading.load_config(BaseModel(str(folder), folder, ""))
        expected = AutoConfig.from_pretrained(folder)
        assert type(found) is type(expected)
        assert found.to_dict() == expected.to_dict()
        assert found.name_or_path == str(folder)
