"""The model card: a finished model's manifest as the README.md of a repository on the Hub.

It decides what is public: `public_manifest` removes the paths of this machine, and a manifest never holds rows of the
data. Names that people typed are shown as text; they cannot break the YAML or become Markdown or HTML.
The metadata is specified at https://huggingface.co/docs/hub/model-cards. The code is in `card_code`.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from modelforge.models.card_code import write_code
from modelforge.scores.metrics import sides_of

PIPELINE_TAGS = {  # task -> a tag of https://huggingface.co/tasks
    "text-generation": "text-generation",
    "summarization": "summarization",
    "extractive-question-answering": "question-answering",
}
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


def model_card(manifest: Mapping[str, Any], repo_id: str | None = None) -> str:
    """The README.md of a model: YAML front matter and Markdown.

    manifest: as in modelforge.json; what is missing is left out of the card.
    repo_id: where it is pushed to, for the code that loads it; None shows the code for the downloaded folder.
    """
    shown = public_manifest(manifest)
    task = str(shown.get("task", "text-generation"))
    parts = [
        f"# {as_text(shown.get('name') or 'A fine-tuned model')}",
        _describe(shown),
        "## Base model\n\n" + _describe_base(shown),
        "## Data\n\n" + _describe_data(shown.get("dataset")),
        "## Results\n\n" + _describe_metrics(shown.get("metrics")),
        "## Recipe\n\n" + _describe_recipe(shown.get("recipe")),
        "## How to use it\n\n" + _describe_loading(shown, repo_id),
        "## How it was made\n\n" + _describe_making(shown),
    ]
    return f"---\n{_front_matter(shown, task)}---\n\n" + "\n\n".join(parts) + "\n"


def public_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A copy without the paths of this machine: a path keeps its last part only, a base model in a folder is `./name`.

    So `base_model` in the copy is either a Hub id or starts with ``./``, which no library takes for a Hub id.
    """
    public = {str(key): _without_paths(value) for key, value in manifest.items()}
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


def _front_matter(manifest: Mapping[str, Any], task: str) -> str:
    is_adapter = _is_adapter(manifest)
    metadata: dict[str, Any] = {"library_name": "peft" if is_adapter else "transformers"}
    base = str(manifest.get("base_model", ""))
    if _HUB_ID.fullmatch(base):
        metadata |= {"base_model": base, "base_model_relation": "adapter" if is_adapter else "finetune"}
    if task in PIPELINE_TAGS:
        metadata["pipeline_tag"] = PIPELINE_TAGS[task]
    words = [str(manifest.get(name, "")) for name in ("tuning", "method")]
    metadata["tags"] = ["modelforge", *(word for word in words if re.fullmatch(r"[a-z0-9-]{1,40}", word))]
    return yaml.safe_dump(metadata, sort_keys=False)


def _is_adapter(manifest: Mapping[str, Any]) -> bool:
    return manifest.get("tuning") != "full"


def _describe(manifest: Mapping[str, Any]) -> str:
    task = as_text(manifest.get("task", "text-generation"))
    kind = "An adapter" if _is_adapter(manifest) else "A model"
    tuning, method = (as_text(manifest.get(name, "")).upper() for name in ("tuning", "method"))
    how = " and ".join(word for word in (method, tuning) if word)
    return f"{kind} for {task}, fine-tuned with ModelForge{f' ({how})' if how else ''}."


def _describe_base(manifest: Mapping[str, Any]) -> str:
    base = str(manifest.get("base_model", ""))
    source = manifest.get("base_source")
    if not base:
        text = "Not recorded."
    elif _HUB_ID.fullmatch(base):
        text = f"[{as_text(base)}](https://huggingface.co/{base}). Its licence and its limitations apply here too."
    else:
        text = f"A folder named {as_text(_last_part(base))} that is not on the Hub."
        text += " It is needed to load this model." if _is_adapter(manifest) else ""
    return f"{text}\n\nSource of the base model: {as_text(source)}." if source else text


def _describe_data(dataset: Any) -> str:
    if not isinstance(dataset, Mapping):
        return "Not recorded."
    labels = {
        "name": "Name",
        "rows": "Examples",
        "train_rows": "Examples for training",
        "eval_rows": "Held-out examples",
        "sha256": "SHA-256",
    }
    lines = [f"- {label}: {as_text(dataset[key])}" for key, label in labels.items() if dataset.get(key) is not None]
    return "\n".join([*lines, "", "The examples themselves are not part of this repository."])


def _describe_metrics(metrics: Any) -> str:
    """A table with a column for each model that was measured; a dash where a metric is missing."""
    sides = sides_of(metrics if isinstance(metrics, Mapping) else {})
    names = list(dict.fromkeys(name for measured in sides.values() for name in measured))
    if not names:
        return "Not measured."
    rows = [[as_text(name), *(_number(measured.get(name)) for measured in sides.values())] for name in names]
    head = ["Metric", *(side.capitalize() for side in sides)]
    table = [head, ["---", *["---:" for _ in sides]], *rows]
    text = "Measured on the held-out examples. Before: the model that training started from."
    text += " Base: the untrained base model." if "base" in sides else ""
    return f"{text}\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in table)


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _describe_recipe(recipe: Any) -> str:
    return _fence("yaml", yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)) if recipe else "Not recorded."


def _describe_loading(manifest: Mapping[str, Any], repo_id: str | None) -> str:
    packages = ["torch", "transformers"]
    packages += ["peft"] if _is_adapter(manifest) else []
    packages += ["bitsandbytes"] if manifest.get("tuning") == "qlora" else []
    needed = f"It needs `pip install {' '.join(packages)}`."
    code = write_code(manifest, repo_id)
    return f"{_fence('python', code)}\n\n{needed}" if code else needed


def _describe_making(manifest: Mapping[str, Any]) -> str:
    lines = ["Made with ModelForge."]
    if manifest.get("created"):
        lines.append(f"- Created: {as_text(manifest['created'])}")
    if isinstance(seconds := manifest.get("seconds"), int | float):
        lines.append(f"- Training time: {seconds:.0f} seconds")
    if hardware := manifest.get("hardware"):
        facts = hardware.values() if isinstance(hardware, Mapping) else [hardware]  # the device and the dtype
        lines.append(f"- Hardware: {', '.join(as_text(fact) for fact in facts if fact)}")
    if isinstance(versions := manifest.get("versions"), Mapping) and versions:
        lines.append("- Versions: " + ", ".join(f"{as_text(name)} {as_text(of)}" for name, of in versions.items()))
    return "\n".join([lines[0], "", *lines[1:]]) if lines[1:] else lines[0]


def _fence(language: str, content: str) -> str:
    """A code block whose fence is longer than any run of backticks in it."""
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", content)), default=0))
    return f"{ticks}{language}\n{content.rstrip()}\n{ticks}"
