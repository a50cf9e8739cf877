"""The model card: a finished model's manifest as the README.md of a repository on the Hub.

It decides what is public: `public_manifest` removes the paths of this machine, and a manifest never holds rows of the
data. Names that people typed are shown as text; they cannot break the YAML or become Markdown or HTML.
The text and the code are in assets/model_card.md; the metadata is specified at
https://huggingface.co/docs/hub/model-cards. Results stand in the text alone: `model-index` is old, and `.eval_results`
are for benchmarks with a protocol of their own, which held-out rows of somebody's data are not.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from modelforge import catalog, paths
from modelforge.architecture import ARCHITECTURES, DECODER
from modelforge.choices.tunings import TUNINGS
from modelforge.recipe import Recipe, Task
from modelforge.scores.metrics import sides_of
from modelforge.tasks import TASKS

if TYPE_CHECKING:
    from jinja2 import Template

PIPELINE_TAGS = {  # task -> a tag of https://huggingface.co/tasks
    "text-generation": "text-generation",
    "summarization": "summarization",
    "extractive-question-answering": "question-answering",
}
LIBRARIES = {"adapter": "peft", "merged": "transformers", "gguf": "gguf"}
"""Form -> the library_name that the Hub wants: which code it shows, and in which list the model is."""
_LICENCES = {  # of the catalogue -> the Hub's identifier
    "Apache-2.0": "apache-2.0",
    "MIT": "mit",
    "CC-BY-4.0": "cc-by-4.0",
    "Llama 3.1": "llama3.1",
    "Llama 3.2": "llama3.2",
    "Gemma": "gemma",
}
_COMMIT = re.compile(r"commit:([0-9a-f]{40})")
_NOT_PUBLIC = ("owner", "pushed")  # who has it here, and what else they have on the Hub
_INPUTS = {"prompt": "Hello!", "document": "The document to summarize."}
_DTYPES = ("float32", "bfloat16", "float16")
_PLAIN = re.compile(r"[A-Za-z0-9 ._/-]")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_LOCAL = re.compile(r"(file:|[A-Za-z]:[\\/]|~|\.{1,2}([\\/]|$)|/|\\\\)")
_PATH_IN_TEXT = re.compile(
    r"""(?<![\w.:/\\~-])((?:file://)?(?:/[^\s/\\'"<>|:;,()]+){2,}/?"""  # /home/anna/faq.csv
    r"""|~(?:[\\/][^\s/\\'"<>|:;,()]+)+[\\/]?"""  # ~/faq.csv
    r"""|(?:[A-Za-z]:|\\)(?:[\\/][^\s/\\'"<>|:;,()]+)+[\\/]?)"""  # C:\data\faq.csv and \\server\data\faq.csv
)
# What Markdown, HTML or GitHub's extensions could take for markup inside a line.
_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+!|~$&@])")
# Line breaks and other controls, surrogates, and signs that turn the direction of text around.
_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]+")


def model_card(
    manifest: Mapping[str, Any], repo_id: str | None = None, *, form: str = "", quantizations: Sequence[str] = ()
) -> str:
    """The README.md of a model: YAML front matter and Markdown.

    manifest: as in modelforge.json; what is missing is left out of the card. repo_id: where it is pushed to, for the
    code that loads it; None shows the code for the downloaded folder. form: "adapter", "merged" or "gguf"; by default
    what the model's own folder holds. quantizations: of GGUF files, as Q8_0.
    """
    shown = {"task": "text-generation", **public_manifest(manifest)}
    form = form or ("merged" if shown.get("tuning") == "full" else "adapter")
    base, metrics = str(shown.get("base_model", "")), shown.get("metrics")
    metrics = metrics if isinstance(metrics, Mapping) else {}
    sides = sides_of(metrics)
    commit = _COMMIT.fullmatch(str(_part(shown, "revisions").get("base_model", "")))
    tuned = _part(manifest, "pushed").get("merged") or _part(manifest, "pushed").get("adapter")
    filled = {
        "front_matter": _front_matter(shown, base, form, str(tuned or "")),
        "form": form,
        "is_adapter": form == "adapter",
        "base": base,
        "base_is_on_hub": _HUB_ID.fullmatch(base),
        "base_commit": commit[1] if commit else "",
        "base_revision": str(_part(shown, "revisions").get("base_model", "")),
        "base_licence": _find_licence(base),
        "hub_dataset": _find_hub_dataset(shown),
        "sides": sides,
        "verdict": _part(metrics, "verdict"),
        "table": _list_metrics(sides, _part(_part(metrics, "verdict"), "differences")),
        "quantizations": list(quantizations),
        **_fill_code(shown, repo_id),
    }
    return _template().render({**shown, **filled}).rstrip() + "\n"


def _part(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of a manifest that is an object; an empty one where it is missing or something else."""
    part = holder.get(name)
    return part if isinstance(part, Mapping) else {}


def public_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A copy without the paths of this machine: a path keeps its last part only, a base model in a folder is `./name`.

    So `base_model` in the copy is either a Hub id or starts with ``./``, which no library takes for a Hub id.
    """
    public = {str(key): _without_paths(value) for key, value in manifest.items() if key not in _NOT_PUBLIC}
    metrics = public.get("metrics")
    if isinstance(metrics, dict) and isinstance(metrics.get("verdict"), dict):
        metrics["verdict"].pop("notes", None)  # they can quote rows, and name folders
    recipe = dict(manifest["recipe"]) if isinstance(manifest.get("recipe"), Mapping) else None
    for original, copy in ((manifest, public), (recipe, public.get("recipe"))):
        if original and isinstance(copy, dict) and isinstance(base := original.get("base_model"), str):
            copy["base_model"] = f"./{_last_part(base)}" if is_local_path(base) else base
    if recipe and isinstance(dataset := recipe.get("dataset"), str) and "." in _last_part(dataset):
        public["recipe"]["dataset"] = _last_part(dataset)  # a relative path to a file says where somebody keeps things
    return public


def is_local_path(text: str) -> bool:
    """Whether a base model's name is a folder on some machine and not a Hub id; decided by its form alone."""
    return bool(_LOCAL.match(text)) or not _HUB_ID.fullmatch(text)


def as_text(value: Any, limit: int = 200) -> str:
    """A value as plain text inside a line of Markdown or a cell of a table; longer than limit characters is cut."""
    text = " ".join(_INVISIBLE.sub(" ", str(value)).split())
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return _MARKUP.sub(r"\\\1", text).replace("://", r"\://")  # a bare address would become a link


def _without_paths(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_paths(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(inner) for inner in value]
    if not isinstance(value, str):
        return value
    if "\n" not in value and _LOCAL.match(value) and re.search(r"[\\/]", value):
        return _last_part(value)
    text = value.replace(f"{Path.home()}{os.sep}", f"~{os.sep}")  # the one path that is likely to have spaces in it
    return _PATH_IN_TEXT.sub(lambda found: _last_part(found[0]), text)


def _last_part(path: str) -> str:
    return re.split(r"[\\/]+", path.rstrip("\\/"))[-1]


def _front_matter(manifest: Mapping[str, Any], base: str, form: str, tuned: str) -> str:
    """tuned: the repository with this very model in another form, "" if it was not pushed. GGUF files are a
    quantization of that; of the base model they are none, whatever its weights were rounded to."""
    metadata: dict[str, Any] = {"library_name": LIBRARIES[form]}
    if form == "gguf" and tuned:
        metadata |= {"base_model": tuned, "base_model_relation": "quantized"}
    elif _HUB_ID.fullmatch(base):
        metadata |= {"base_model": base, "base_model_relation": "adapter" if form == "adapter" else "finetune"}
    if licence := _LICENCES.get(_find_licence(base)):
        metadata["license"] = licence
    if dataset := _find_hub_dataset(manifest):
        metadata["datasets"] = [dataset]
    if manifest["task"] in PIPELINE_TAGS:
        metadata["pipeline_tag"] = PIPELINE_TAGS[manifest["task"]]
    words = [str(manifest.get(name, "")) for name in ("tuning", "method")]
    more = ["gguf", "llama.cpp", "ollama"] if form == "gguf" else []
    metadata["tags"] = ["modelforge", *(word for word in words if re.fullmatch(r"[a-z0-9-]{1,40}", word)), *more]
    return yaml.safe_dump(metadata, sort_keys=False)


def _find_licence(base: str) -> str:
    """Of a base model of the catalogue; "" where it is not known."""
    listed = catalog.find(base)
    return listed.licence if listed else ""


def _find_hub_dataset(manifest: Mapping[str, Any]) -> str:
    """The id of the Hub's dataset that the model was trained on, "" if it was a file. A dataset that came from the Hub
    is named after its id; a file is not named after its path."""
    name = _part(manifest, "recipe").get("dataset")
    if not isinstance(name, str) or name != _part(manifest, "dataset").get("name"):
        return ""
    return name if "/" in name and _HUB_ID.fullmatch(name) else ""


def _list_metrics(sides: Mapping[str, Mapping[str, Any]], differences: Mapping[str, Any]) -> list[list[str]]:
    """A row for each metric, with its value on each side, and the difference with its interval where any has one; a
    dash where it is missing."""
    names = dict.fromkeys(name for measured in sides.values() for name in measured)
    rows = []
    for name in names:
        found = _part(differences, name)
        low, high = _number(found.get("low")), _number(found.get("high"))
        interval = f"{_number(found.get('value'))} ({low} to {high})" if found and low != "-" != high else "-"
        rows.append(
            [as_text(name), *(_number(each.get(name)) for each in sides.values()), *([interval] * bool(differences))]
        )
    return rows


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _fill_code(manifest: Mapping[str, Any], repo_id: str | None) -> dict[str, Any]:
    """What the code that loads and uses the model has in its gaps; no architecture for an unknown task or tuning.

    The code gives the same answers as the model gives here.
    """
    hub_place = repo_id if repo_id and _HUB_ID.fullmatch(repo_id) else "USER/REPOSITORY"
    task = next((task for task in Task if task.value == manifest.get("task")), None)
    if task is None or manifest.get("tuning") not in TUNINGS:
        return {"architecture": None, "hub_place": hub_place}
    base = str(manifest.get("base_model") or "")
    commit = _COMMIT.fullmatch(str(_part(manifest, "revisions").get("base_model", "")))
    architecture = ARCHITECTURES[str(manifest.get("architecture") or TASKS[task].architectures[0])]
    to_messages = TASKS[task].to_messages if architecture is DECODER else None
    hardware, recipe = manifest.get("hardware"), manifest.get("recipe")
    dtype = hardware.get("dtype") if isinstance(hardware, Mapping) else None
    settings = Recipe().model_dump() | (dict(recipe) if isinstance(recipe, Mapping) else {})
    return {
        "architecture": architecture,
        "place": _quote(repo_id or "."),
        "hub_place": hub_place,
        "revision": f', revision="{commit[1]}"' if commit and not is_local_path(base) else "",
        "base_place": _quote(str(manifest.get("base_model") or "the base model")),
        "dtype": dtype if dtype in _DTYPES else "float32",
        "prompt": json.dumps(to_messages(_INPUTS)[-1]["content"] if to_messages else _INPUTS["document"]),
        "max_length": int(settings["max_length"]),
        "max_answer_length": int(settings["max_answer_length"]),
    }


def _quote(text: str) -> str:
    """A Python string literal on one line in ASCII, whatever is in the text."""
    return '"' + "".join(sign if _PLAIN.fullmatch(sign) else f"\\U{ord(sign):08x}" for sign in text) + '"'


def _fence(content: str, language: str) -> str:
    """A code block whose fence is longer than any run of backticks in it."""
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", content)), default=0))
    return f"{ticks}{language}\n{content.rstrip()}\n{ticks}"


@cache
def _template() -> Template:
    from jinja2 import Environment

    environment = Environment(trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701 - `as_text` escapes
    environment.filters |= {"text": as_text, "last_part": _last_part, "fence": _fence, "as_yaml": _as_yaml}
    return environment.from_string(paths.asset("model_card.md").read_text(encoding="utf-8"))


def _as_yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
