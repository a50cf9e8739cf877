"""The whole way on a terminal: a recipe trains, the model is pushed by the real client, and loads again elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from modelforge import paths
from tests import tiny
from tests.hub_server import HubServer

TOKEN = "hf_annas_token_1234567890"


def modelforge(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelforge.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


def test_trained_model_is_pushed_privately_and_loads_again(home: Path, tmp_path: Path) -> None:
    base = tiny.write_base(tmp_path / "tiny")
    recipe = tmp_path / "recipe.yaml"
    settings = {"max_steps": 3, "learning_rate": 1e-2, "name": "Lamps & boats", "dtype": "float32"}
    recipe.write_text(tiny.recipe(base, tiny.write_rows(tmp_path / "rows.jsonl"), settings).to_yaml(), encoding="utf-8")
    trained = modelforge("train", str(recipe), "--json", MODELFORGE_HOME=str(home))
    assert trained.returncode == 0, trained.stderr
    model_id = json.loads(trained.stdout.splitlines()[-1])["model_id"]

    with HubServer(tokens={TOKEN: "anna"}) as server:
        at = {"MODELFORGE_HOME": str(home), "HF_ENDPOINT": server.url, "HF_TOKEN": TOKEN}
        pushed = modelforge("push", "Lamps & boats", "anna/lamps", "--json", **at)
        assert pushed.returncode == 0, pushed.stderr
        assert json.loads(pushed.stdout)["url"] == f"{server.url}/anna/lamps"
        assert TOKEN not in pushed.stdout + pushed.stderr
        repository = server.repos["anna/lamps"]
        assert repository["private"]
        assert sorted(json.loads(pushed.stdout)["files"]) == sorted(set(repository["files"]) - {".gitattributes"})
        assert not any(str(home).encode() in content for content in repository["files"].values())

        load = (
            "import sys; from huggingface_hub import snapshot_download; from peft import PeftModel;"
            "from transformers import AutoModelForCausalLM;"
            "folder = snapshot_download('anna/lamps');"
            "model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(sys.argv[1]), folder);"
            "from safetensors.torch import save_file; from peft import get_peft_model_state_dict;"
            "save_file({k: v.contiguous() for k, v in get_peft_model_state_dict(model).items()}, sys.argv[2])"
        )
        copy = tmp_path / "copy.safetensors"
        environment = {**os.environ, **at, "HF_HOME": str(tmp_path / "elsewhere")}
        subprocess.run([sys.executable, "-c", load, str(base), str(copy)], check=True, env=environment)

    from safetensors.torch import load_file

    ours = load_file(paths.model_dir(model_id) / "adapter_model.safetensors")
    theirs = load_file(copy)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
