"""Takes a model that was made elsewhere into the library: any PEFT adapter, or a whole model, from a folder.

What is in the folder is a stranger's: only files of known names are copied, no links; weights as safetensors alone; of
an adapter's config only settings that describe the adapter. Its manifest is written last. What it claims to have
measured is not believed: Evaluate measures it here.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from modelforge import base_model, catalog, paths
from modelforge.architecture import ARCHITECTURES, DECODER, ENCODER, ENCODER_DECODER, Architecture
from modelforge.base_model import hub as base_hub
from modelforge.base_model.contents import Contents, check_fit, read_folder, recognise_for, refuse_packed
from modelforge.base_model.find import find_here
from modelforge.base_model.json_file import read_object
from modelforge.caller import current_caller
from modelforge.errors import BaseModelError, HubError, ModelForgeError, check_space, report_full_disk
from modelforge.models.adapter_config import ADAPTER, read_adapter_config
from modelforge.models.folder import MANIFEST, package_versions
from modelforge.models.hub_files import CARD, FORMS
from modelforge.models.hub_pull import explain_no_weights
from modelforge.recipe import RECIPE_VERSION, Recipe, Task, read_stored
from modelforge.store import ModelRecord, Store, manifests, utc_now
from modelforge.store.folders import place_folder, unfinished

_MOST_CONFIG_BYTES, _MOST_CARD_BYTES = 5_000_000, 1_000_000
_SPARE_BYTES = 50_000_000
_TOKENIZER = re.compile(r"(tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json|(vocab|merges)\.txt"
                        r"|(tokenizer|spiece|sentencepiece\.bpe)\.model|chat_template\.jinja")  # fmt: skip
_IS_TOKENIZER = re.compile(r"tokenizer\.json|vocab\.(json|txt)|(tokenizer|spiece|sentencepiece\.bpe)\.model")
_TASKS = {
    DECODER.name: Task.TEXT_GENERATION,
    ENCODER_DECODER.name: Task.SUMMARIZATION,
    ENCODER.name: Task.EXTRACTIVE_QUESTION_ANSWERING,
}


@dataclass(frozen=True)
class Found:
    """What is in a folder. form: "adapter" or "merged". base: the name of its base model, "" if it is not known.
    config: of an adapter, cleaned. made: the manifest of ModelForge, {} of a model from elsewhere."""

    form: str
    base: str
    architecture: Architecture
    task: Task
    config: Mapping[str, Any]
    made: Mapping[str, Any]


def import_folder(
    store: Store,
    folder: Path,
    *,
    name: str,
    origin: str,
    base: str = "",
    move: bool = False,
    meanwhile: Callable[[], None] = lambda: None,
) -> ModelRecord:
    """A model of the library made of a folder. origin: where it comes from, in words. base: its base model, instead of
    what the folder says. move: the folder is ours and may be used up. meanwhile: called often while a base model is
    downloaded, which an adapter without a tokenizer needs. Raises ModelForgeError; then nothing is in the library."""
    found = look(folder, origin, base)
    files = _list_files(folder, found.form)
    model_id = paths.new_id("model")
    target = paths.model_dir(model_id)
    with unfinished(target.parent) as partial, report_full_disk(target.parent):
        check_space(target.parent, (0 if move else sum(file.stat().st_size for file in files)) + _SPARE_BYTES)
        for file in files:
            if not move:  # what was moved is lost where somebody cancels
                meanwhile()
            (shutil.move if move else shutil.copyfile)(file, partial / file.name)
        if found.form == "adapter":
            (partial / ADAPTER).write_text(json.dumps(found.config, indent=2), encoding="utf-8")
            _add_tokenizer(partial, found, meanwhile)
        _check_tokenizer(partial, origin, found.architecture)
        manifest = {"id": model_id, "owner": current_caller().id, **_make_manifest(found, name, origin)}
        (partial / MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False, indent=2), encoding="utf-8")
        with store.transaction():
            place_folder(partial, target)
            try:
                record = manifests.read_record(manifests.MODEL, target / MANIFEST)
                return store.models.add(cast(ModelRecord, record))
            except BaseException:
                target.rename(partial)
                raise


def look(folder: Path, origin: str, base: str = "") -> Found:
    """What a folder holds, judged without loading weights. Raises HubError, BaseModelError."""
    names = [path.name for path in folder.iterdir() if path.is_file()]
    form = "adapter" if ADAPTER in names else "merged"
    if not any(FORMS[form].weights.fullmatch(name) for name in names):
        raise explain_no_weights(origin, names)
    for name in filter(FORMS[form].weights.fullmatch, names):
        _check_weights(folder / name, origin)
    made = _read_made(folder)
    return (
        _look_at_adapter(folder, origin, base, made)
        if form == "adapter"
        else _look_at_model(folder, origin, base, made)
    )


def _look_at_adapter(folder: Path, origin: str, base: str, made: Mapping[str, Any]) -> Found:
    config = read_adapter_config(folder, origin)
    base = base or str(made.get("base_model") or config.get("base_model_name_or_path") or "")[:500]
    if not base or base.startswith("./"):
        raise BaseModelError(
            "This adapter does not name a base model that others can find.",
            where=origin,
            fix="Say which it is: `modelforge models import … --base-model NAME`.",
        )
    try:
        architecture = _find_architecture(base)
    except ModelForgeError as error:
        raise BaseModelError(
            f"Its base model {base} cannot be used: {error.what}",
            where=origin,
            fix=f"{error.fix} Or name another with --base-model.",
        ) from error
    task = _choose_task(architecture, made)
    return Found("adapter", base, architecture, task, {**config, "base_model_name_or_path": base}, made)


def _look_at_model(folder: Path, origin: str, base: str, made: Mapping[str, Any]) -> Found:
    contents = read_folder(folder, origin)
    refuse_packed(contents.config, origin)
    architecture = recognise_for(None, contents.config, origin)
    if architecture is ENCODER and "ForQuestionAnswering" not in str(contents.config.get("architectures")):
        raise BaseModelError(
            "This encoder has no head that finds answers, so there is nothing to ask it.",
            where=origin,
            fix="Choose it as a base model and train it for question answering.",
        )
    task = _choose_task(architecture, made)
    check_fit(contents, task)
    named = base or str(made.get("base_model") or _read_card(folder).get("base_model") or "")[:200]
    is_known = named and not named.startswith("./")
    return Found("merged", named if is_known else "unknown", architecture, task, {}, made)


def _find_architecture(base: str) -> Architecture:
    """Of a base model, by its config, here or on the Hub; no weights are downloaded. Raises BaseModelError."""
    contents: Contents | None = None
    if here := find_here(base):
        contents = read_folder(here.folder, base)
    elif listed := catalog.find(base):
        return ARCHITECTURES[listed.architecture]
    elif base_hub.is_switched_off():
        raise base_hub.make_switched_off(base)
    else:
        contents = base_hub.ask(base, seconds=base_hub.ASK_SECONDS)
    if contents is None:
        raise BaseModelError(
            f"{base} is not on this machine and the Hub cannot be reached.", fix="Connect to the internet."
        )
    return recognise_for(None, contents.config, base)


def _choose_task(architecture: Architecture, made: Mapping[str, Any]) -> Task:
    """The task that ModelForge trained it for, or else the usual one of its architecture."""
    from modelforge.tasks import TASKS

    stated = next((task for task in Task if task.value == made.get("task")), None)
    return stated if stated and architecture.name in TASKS[stated].architectures else _TASKS[architecture.name]


def _check_weights(path: Path, origin: str) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            is_empty = not file.keys()
    except (OSError, SafetensorError) as error:
        raise HubError(f"{path.name} is damaged.", where=origin, fix="Download it again.") from error
    if is_empty:
        raise HubError(f"{path.name} has no weights in it.", where=origin, fix="Download it again.")


def _list_files(folder: Path, form: str) -> list[Path]:
    """The files that are taken. A link may point to any file of this machine; only those of the Hub's cache are
    followed."""
    names = FORMS[form]
    blobs = folder.resolve().parent.parent / "blobs"
    found = [path for path in sorted(folder.iterdir()) if path.is_file()]
    named = [path for path in found if any(each.fullmatch(path.name) for each in (names.weights, names.others))]
    return [path for path in named if not path.is_symlink() or path.resolve().parent == blobs]


def _add_tokenizer(partial: Path, found: Found, meanwhile: Callable[[], None]) -> None:
    """The base model's tokenizer, for an adapter that comes without one."""
    if any(_IS_TOKENIZER.fullmatch(path.name) for path in partial.iterdir()):
        return
    base = base_model.resolve(found.base, None, meanwhile)
    for path in sorted(base.folder.iterdir()):
        if _TOKENIZER.fullmatch(path.name) and path.is_file():
            shutil.copyfile(path, partial / path.name)


def _check_tokenizer(partial: Path, origin: str, architecture: Architecture) -> None:
    from modelforge import loading

    loading.load_tokenizer(partial, origin, architecture)


def _read_made(folder: Path) -> dict[str, Any]:
    """The manifest of a model that ModelForge made; {} where there is none, or it is not valid."""
    try:
        return read_object(folder / MANIFEST, folder.name, _MOST_CONFIG_BYTES)
    except BaseModelError:
        return {}


def _read_card(folder: Path) -> dict[str, Any]:
    """The metadata of a model card; {} where there is none, or it is not valid."""
    try:
        with (folder / CARD).open("rb") as file:
            text = file.read(_MOST_CARD_BYTES).decode("utf-8", "replace")
        front = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
        values = yaml.safe_load(front[1]) if front else {}
    except (OSError, yaml.YAMLError, RecursionError):
        return {}
    base = values.get("base_model") if isinstance(values, dict) else None
    return {"base_model": base} if isinstance(base, str) else {}


def _make_manifest(found: Found, name: str, origin: str) -> dict[str, Any]:
    """What `models.folder.save_model` would have written, as far as it is known."""
    kind = "full" if found.form == "merged" else "lora"
    known = ("r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora", "use_dora")
    tuning = {key: found.config[key] for key in known if found.config.get(key) is not None}
    settings: dict[str, Any] = {"task": found.task.value, "method": "sft", "name": name, "base_model": found.base}
    made = found.made.get("recipe")
    if isinstance(made, dict):  # lengths and the form of rows
        settings = {**{key: made[key] for key in Recipe.model_fields if key in made}, **settings}
    settings |= {"dataset": "", "parent": "", "tuning": {**tuning, "type": kind}}
    recipe = read_stored(settings, RECIPE_VERSION).recipe
    dataset = found.made.get("dataset")
    about = str(dataset.get("name") or "") if isinstance(dataset, dict) else ""
    return {
        "name": name,
        "base_model": found.base,
        "base_source": "as it was imported",
        "custom_base_model": catalog.find(found.base) is None,
        "architecture": found.architecture.name,
        "parent": None,
        "task": found.task.value,
        "method": "sft",
        "tuning": kind,
        "created": utc_now(),
        "run_id": None,
        "description": f"Imported from {origin}",
        "dataset": {
            "id": "", "name": about[:120] or "not known", "rows": 0, "train_rows": 0, "eval_rows": 0, "sha256": "",
            "has_unanswerable": bool(isinstance(dataset, dict) and dataset.get("has_unanswerable") is True),
        },
        "recipe": recipe.model_dump(mode="json"),
        "recipe_version": RECIPE_VERSION,
        "metrics": {},
        "versions": package_versions(),
    }  # fmt: skip
