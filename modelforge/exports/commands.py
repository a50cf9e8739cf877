"""The commands with which other programs use an export, ready to be copied."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from modelforge.exports.formats import name_file


def list_commands(format: str, model_name: str, base_model: str, folder: str, files: Sequence[str]) -> dict[str, str]:
    """Program -> its command. folder: where the files are, or are to be."""
    name, place = name_file(model_name), shlex.quote(folder)
    if format == "gguf":
        file = next(each for each in files if each.endswith(".gguf"))
        return {
            "llama.cpp": f"llama-server -m {shlex.quote(f'{folder}/{file}')} --jinja",
            "Ollama": f"cd {place} && ollama create {name} -f Modelfile && ollama run {name}",
        }
    if format == "merged":
        return {"vLLM": f"vllm serve {place} --served-model-name {name}"}
    base = shlex.quote(base_model)
    return {"vLLM": f"vllm serve {base} --enable-lora --lora-modules {name}={place}"}
