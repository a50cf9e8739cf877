"""The whole way on a terminal: a recipe trains, the model is pushed by the real client, and loads again elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from modelforge import paths
from tests import tiny
from tests.hub_server import HubServer
from tests.machine import measured, probed
from tests.programs import WITHOUT_A_PLAN, Programs

__all__ = ["measured", "probed"]

TOKEN = "hf_annas_token_1234567890"


LOAD = """
import sys
from huggingface_hub import snapshot_download
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

endpoint, token, cache, base, copy = sys.argv[1:]
folder = snapshot_download("anna/lamps", endpoint=endpoint, token=token, cache_dir=cache)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
save_file({name: part.contiguous() for name, part in get_peft_model_state_dict(model).items()}, copy)
"""


@pytest.mark.slow
def test_trained_model_is_pushed_privately_and_loads_again(programs: Programs, probed: Path, tmp_path: Path) -> None:
    base = tiny.write_base(tmp_path / "tiny")
    recipe = tmp_path / "recipe.yaml"
    settings = {"max_steps": 3, "learning_rate": 1e-2, "name": "Lamps & boats", "dtype": "float32"}
    recipe.write_text(tiny.recipe(base, tiny.write_rows(tmp_path / "rows.jsonl"), settings).to_yaml(), encoding="utf-8")
    trained = programs.run(WITHOUT_A_PLAN, "train", recipe, "--json")
    assert trained.returncode == 0, trained.stderr
    model_id = json.loads(trained.stdout.splitlines()[-1])["model_id"]

    with HubServer(tokens={TOKEN: "anna"}) as server:
        command = [sys.executable, "-m", "modelforge.cli", "push", "Lamps & boats", "anna/lamps", "--json"]
        at = {"HF_ENDPOINT": server.url, "HF_TOKEN": TOKEN}
        pushed = subprocess.run(command, env={**os.environ, **at}, capture_output=True, text=True, check=False)
        assert pushed.returncode == 0, pushed.stderr
        assert json.loads(pushed.stdout)["url"] == f"{server.url}/anna/lamps"
        assert TOKEN not in pushed.stdout + pushed.stderr
        repository = server.repos["anna/lamps"]
        assert repository["private"]
        assert sorted(json.loads(pushed.stdout)["files"]) == sorted(set(repository["files"]) - {".gitattributes"})
        assert not any(str(probed).encode() in content for content in repository["files"].values())

        copy = tmp_path / "copy.safetensors"
        loaded = programs.run(LOAD, server.url, TOKEN, tmp_path / "elsewhere", base, copy)
        assert loaded.returncode == 0, loaded.stderr

    ours = load_file(paths.model_dir(model_id) / "adapter_model.safetensors")
    theirs = load_file(copy)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
