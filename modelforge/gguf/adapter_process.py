"""Run as a module beside the converter, this file is the process that writes an adapter: BASE ADAPTER OUT_FILE.

A LoRA adds B (rows, r) times A (r, columns) to a weight W (rows, columns). What the converter does to W, to a new order
of rows or into several matrices, it does to B here, and A stays. That this is the same is checked for each weight on
its product; where it is not (a weight whose columns move), the adapter is refused. The file is laid out as llama.cpp's
convert_lora_to_gguf.py does it: general.type adapter, adapter.type lora, NAME.lora_a and NAME.lora_b.
"""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

_NAME = re.compile(r"base_model\.model\.(.+)\.lora_(A|B)\.weight")


def write_adapter(base: Path, adapter: Path, out_file: Path) -> None:
    """Raises SystemExit with the reason where it cannot be written."""
    import gguf
    import torch
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class
    from safetensors.torch import load_file

    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    pairs: dict[str, dict[str, Any]] = {}
    for key, tensor in load_file(adapter / "adapter_model.safetensors").items():
        found = _NAME.fullmatch(key)
        if not found:
            sys.exit(f"llama.cpp's adapters have nothing like {key}")
        pairs.setdefault(f"{found[1]}.weight", {})[found[2]] = tensor.float()
    hparams = ModelBase.load_hparams(base, False)
    architecture = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
    model = architecture(base, gguf.LlamaFileType.MOSTLY_F16, out_file, eager=True)
    writer = gguf.GGUFWriter(out_file, gguf.MODEL_ARCH_NAMES[model.model_arch])
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    rank, alpha = settings["r"], float(settings["lora_alpha"])
    # llama.cpp multiplies by alpha / r.
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha * math.sqrt(rank) if settings.get("use_rslora") else alpha)
    with torch.inference_mode():
        for name, pair in pairs.items():
            for new_name, b in _transform(model, name, pair["A"], pair["B"]):
                writer.add_tensor(f"{new_name}.lora_a", pair["A"].half().numpy())
                writer.add_tensor(f"{new_name}.lora_b", b.half().contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _transform(model: Any, name: str, a: Any, b: Any) -> list[tuple[str, Any]]:
    """What the converter makes of a weight of that name, done to its B: (new name, B)."""
    import torch

    filtered = model.filter_tensors((name, None))
    name = filtered[0] if filtered else name
    layer = next((int(part) for part in name.split(".") if part.isdecimal()), None)
    try:
        rows = list(model.modify_tensors(b, name, layer))
        whole = list(model.modify_tensors(b @ a, name, layer))
    except Exception as error:  # noqa: BLE001 - whatever an architecture's own code raises
        sys.exit(f"llama.cpp's adapters cannot change {name} of this architecture ({error})")
    if not rows or [each for each, _ in rows] != [each for each, _ in whole]:
        sys.exit(f"llama.cpp's adapters cannot change {name} of this architecture")
    for (_, part), (_, wanted) in zip(rows, whole, strict=True):
        if part.shape != (wanted.shape[0], a.shape[0]) or not torch.allclose(part @ a, wanted, atol=1e-6, rtol=1e-4):
            sys.exit(f"llama.cpp's adapters cannot change {name} of this architecture")
    return rows


if __name__ == "__main__":
    write_adapter(*(Path(argument) for argument in sys.argv[1:]))
