"""In which forms a model can be pushed now: its own folder, and what it was exported to."""

from __future__ import annotations

from pathlib import Path

from modelforge.errors import HubError
from modelforge.exports.service import Exports
from modelforge.models.hub_files import FORMS, Source
from modelforge.models.library import Models
from modelforge.store import ModelRecord


def list_sources(models: Models, exports: Exports, record: ModelRecord) -> dict[str, tuple[str, Source]]:
    """Key, such as "adapter" or "gguf-q8_0" -> (label, what is pushed). The model's own folder is the first; "gguf" has
    all quantizations. Raises NotFoundError."""
    own = models.source(record)
    found = {own.form: (FORMS[own.form].title, own)}
    quantized: dict[str, Source] = {}
    for export in reversed(exports.all(record.id)):  # of several of a kind the newest
        source = Source(exports.path(export), export.format, own.manifest)
        if export.format == "gguf":
            quantized[export.quantization.upper()] = source
        elif export.format != own.form:
            found[export.format] = (FORMS[export.format].title, source)
    if quantized:
        first, *others = quantized.values()
        every = Source(first.folder, "gguf", own.manifest, tuple(each.folder for each in others))
        found["gguf"] = (f"{FORMS['gguf'].title}: {' and '.join(quantized)}", every)
    for name, source in quantized.items() if len(quantized) > 1 else ():
        found[f"gguf-{name.lower()}"] = (f"GGUF: {name} alone", source)
    return found


def find_source(models: Models, exports: Exports, record: ModelRecord, key: str = "") -> Source:
    """What is pushed of a model; by default its own folder. Raises HubError for a form that it was not exported to."""
    sources = list_sources(models, exports, record)
    if not key:
        return next(iter(sources.values()))[1]
    if key not in sources:
        raise HubError(
            f"{record.name} was not exported as {key}; there is {', '.join(sources)}.",
            where=record.name,
            fix="Export it on the Models tab first, or give the folder of an export with --folder.",
        )
    return sources[key][1]


def read_export(models: Models, record: ModelRecord, folder: Path) -> Source:
    """What a folder that `modelforge export` wrote has of a model. Raises HubError."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    for form, spec in FORMS.items():
        if any(spec.weights.fullmatch(name) for name in names):
            return Source(folder, form, models.manifest(record))
    fix = "Give the folder that `modelforge export` wrote."
    raise HubError("There are no weights of a model in this folder.", where=str(folder), fix=fix)
