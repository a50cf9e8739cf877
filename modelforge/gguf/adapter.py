"""A LoRA adapter of PEFT as a GGUF adapter file, which llama.cpp applies beside a base model in GGUF."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelforge.base_model.json_file import read_object
from modelforge.errors import ExportError, check_space
from modelforge.gguf.converter import check_architecture, clean_view, ensure_converter, run_converter
from modelforge.store.files import place_file
from modelforge.store.leftovers import begin_file

SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_UNSUPPORTED = {
    "use_dora": "DoRA's magnitudes",
    "modules_to_save": "whole layers that were trained",
    "alpha_pattern": "different strengths for different layers",
    "rank_pattern": "different sizes for different layers",
    "trainable_token_indices": "trained tokens",
    "target_parameters": "parts of experts",
    "fan_in_fan_out": "transposed layers",
}
_MERGED = "Export it as GGUF or merged: those have the adapter folded in."


def find_adapter_problem(adapter: Path) -> str:
    """Why llama.cpp cannot apply the PEFT adapter in a folder beside its base; "" if it can."""
    settings = read_object(adapter / SETTINGS, adapter.name)
    if settings.get("peft_type") != "LORA":
        return f"It is a {settings.get('peft_type')} adapter; llama.cpp takes LoRA alone."
    if settings.get("bias") not in (None, "none"):
        return "It has trained biases, which llama.cpp's adapters cannot have."
    found = [what for name, what in _UNSUPPORTED.items() if settings.get(name)]
    return f"It has {found[0]}, which llama.cpp's adapters cannot have." if found else ""


def adapter_to_gguf(base: Path, adapter: Path, out_file: Path, *, watch: Callable[[], None] = lambda: None) -> Path:
    """Write the LoRA adapter in a folder as one GGUF file, which appears complete or not at all. Returns out_file.

    base: the folder of its base model, whose architecture decides the names and the order of rows. watch: called
    several times a second; what it raises cancels. Raises ExportError, DiskFullError, DownloadError.
    """
    if problem := find_adapter_problem(adapter):
        raise ExportError(f"This adapter cannot be written as GGUF. {problem}", where=adapter.name, fix=_MERGED)
    converter = ensure_converter(watch)
    check_architecture(base, converter)
    out_file.parent.mkdir(parents=True, exist_ok=True)
    check_space(out_file.parent, 2 * (adapter / WEIGHTS).stat().st_size)
    partial = begin_file(out_file.parent)
    try:
        with clean_view(base) as view:
            process: tuple[Any, ...] = (converter, "modelforge.gguf.adapter_process")
            run_converter(*process, str(view), str(adapter), str(partial), meanwhile=watch, what="This adapter")
        place_file(partial, out_file)
    finally:
        partial.unlink(missing_ok=True)
    return out_file
