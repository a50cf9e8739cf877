"""A finished model's folder: adapter or weights, tokenizer, chat template, and the manifest, which is written last.

A folder without a valid manifest is not a model. The registry can be rebuilt from the manifests.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from modelforge import __version__, paths
from modelforge.caller import current_caller
from modelforge.errors import NotFoundError, check_space
from modelforge.store.files import save_file
from modelforge.store.folders import place_folder, unfinished

MANIFEST = "modelforge.json"
_PACKAGES = ("torch", "transformers", "trl", "peft", "tokenizers", "accelerate")


def save_model(model: Any, tokenizer: Any, manifest: Mapping[str, Any]) -> str:
    """Write the folder of a new model and return its id. It appears complete or not at all, and is on the disk then."""
    model_id = paths.new_id("model")
    target = paths.model_dir(model_id)
    with unfinished(target.parent) as partial:
        is_adapter = hasattr(model, "peft_config")
        saved = (part for part in model.parameters() if part.requires_grad or not is_adapter)
        needed = sum(part.numel() * part.element_size() for part in saved) + 50_000_000
        check_space(target.parent, needed)
        model.save_pretrained(partial, **only_own_adapter(model))
        (partial / "README.md").unlink(missing_ok=True)  # PEFT's empty card; ours is made when the model is pushed
        tokenizer.save_pretrained(partial)
        text = json.dumps({"id": model_id, "owner": current_caller().id, **manifest}, ensure_ascii=False, indent=2)
        (partial / MANIFEST).write_text(text, encoding="utf-8")
        place_folder(partial, target)
    return model_id


def only_own_adapter(model: Any) -> dict[str, Any]:
    """Arguments of `save_pretrained` that leave out the copy of the adapter that TRL compares with."""
    is_adapter = hasattr(model, "peft_config")
    return {"save_embedding_layers": False, "selected_adapters": ["default"]} if is_adapter else {}


def read_manifest(model_id: str) -> dict[str, Any]:
    """The manifest of a model. Raises NotFoundError where the model's folder is missing or the manifest is damaged."""
    folder = paths.model_dir(model_id)
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not all(isinstance(manifest[part], dict) for part in ("recipe", "dataset")):
            raise TypeError("recipe and dataset are objects")
    except (OSError, ValueError, KeyError, TypeError) as error:
        there = (folder / MANIFEST).exists()
        raise NotFoundError(
            f"The file {MANIFEST} of {model_id} is damaged." if there else f"The files of {model_id} are missing.",
            where=str(folder),
            fix=f"Restore {'it' if there else 'the folder'} from a copy, or delete the model.",
        ) from error
    return manifest


def write_manifest(model_id: str, manifest: Mapping[str, Any]) -> None:
    """Replace the manifest of a model that exists."""
    text = json.dumps(manifest, ensure_ascii=False, indent=2)
    save_file(paths.model_dir(model_id) / MANIFEST, text.encode())


def package_versions() -> dict[str, str]:
    ours = {"python": platform.python_version(), "modelforge": __version__}
    return {**ours, **{name: version(name) for name in _PACKAGES}}
