"""Export a model: what to write and how large it will be, progress, how its answers compare, the files, and the
commands that use them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import gradio as gr

from modelforge import warmup
from modelforge.caller import current_caller
from modelforge.errors import ModelForgeError, NotFoundError, check_space
from modelforge.exports.commands import list_commands
from modelforge.exports.formats import FORMATS, check_format, has_format
from modelforge.exports.service import TITLES, Job
from modelforge.forge import Forge
from modelforge.gguf import QUANTIZATIONS
from modelforge.hardware import describe_bytes, detect
from modelforge.store import ExportRecord
from modelforge.ui.look import html
from modelforge.ui.look.background import FOLLOW_SECONDS
from modelforge.ui.look.choices import DeleteButtons, select
from modelforge.ui.look.events import listen
from modelforge.ui.look.files import make_file

_DOWNLOADED = "FOLDER"  # in commands, for who gets a download


class ExportPanel:
    """Its components. `fitted` depends on the chosen model, `shown` on the chosen export."""

    def __init__(self) -> None:
        with gr.Column(visible=False, elem_id="models-export") as self.box:
            gr.HTML("<h3>Export</h3>")
            with gr.Row():
                self.format = gr.Radio([], label="Form", scale=2, min_width=280, elem_id="export-format")
                self.quantization = gr.Dropdown(
                    [(f"{name.upper()}: {each.sentence}", name) for name, each in QUANTIZATIONS.items()],
                    value="q8_0", label="Quantization", scale=2, min_width=280, elem_id="export-quantization",
                )  # fmt: skip
            self.estimate = gr.HTML("", elem_id="export-estimate")
            with gr.Row(elem_classes="mf-actions"):
                self.start = gr.Button("Export", variant="primary", scale=0, min_width=140, elem_id="export-start")
                self.cancel = gr.Button("Cancel", visible=False, scale=0, min_width=110, elem_id="export-cancel")
            self.progress = gr.HTML("", elem_id="export-progress")
            with gr.Column(visible=False) as self.made:
                self.exports = gr.Dropdown([], label="Exports of this model", elem_id="export-chosen")
                self.details = gr.HTML("", elem_id="export-details")
                with gr.Row(elem_classes="mf-actions"):
                    self.fetch = gr.Button("Download files", scale=0, min_width=170, elem_id="export-fetch")
                    self.deletion = DeleteButtons("export-delete", "Delete this export…")
                self.files = gr.File(
                    label="Files", file_count="multiple", interactive=False, visible=False, elem_id="export-files"
                )
        self.shown = [self.details, self.files]
        self.listed = [self.made, self.exports, *self.shown]
        self.fitted = [self.box, self.format, self.quantization, self.estimate, *self.listed]
        self.followed = [self.progress, self.cancel, *self.listed]

    def attach(self, forge: Forge, model: Any) -> None:
        """model: the dropdown of the model that is exported."""

        def fit(model_id: str | None, format: str | None, quantization: str | None) -> list[Any]:
            record = next((each for each in forge.models.all() if each.id == model_id), None)
            if record is None or forge.models.find_problem(record):
                return [gr.Column(visible=False), gr.Radio(), gr.Dropdown(), "", *list_exports(forge, None)]
            forms = [(each.title, name) for name, each in FORMATS.items() if has_format(record, each)]
            names = [name for _, name in forms]
            chosen = format if format in names else names[-1]
            fitted = describe_form(forge, model_id, chosen, quantization)
            return [gr.Column(visible=True), gr.Radio(forms, value=chosen), *fitted, *list_exports(forge, model_id)]

        def choose(model_id: str | None, format: str | None, quantization: str | None) -> list[Any]:
            return describe_form(forge, model_id, format, quantization)

        def export(model_id: str | None, format: str | None, quantization: str | None) -> Iterator[dict[Any, Any]]:
            warmup.wait()
            forge.exports.start(model_id or "", format or "", (quantization or "") if _is_quantized(format) else "")
            yield from follow(model_id)

        def follow(model_id: str | None) -> Iterator[dict[Any, Any]]:
            """The progress of the export of a model, also after the page was reloaded, and how it ended."""
            job = forge.exports.find_job(model_id or "")
            if job is None or job.ended.is_set():
                yield {self.progress: _describe_end(job), self.cancel: gr.Button(visible=False)}
                return
            yield {self.progress: _describe_progress(job), self.cancel: gr.Button(visible=True)}
            while not job.ended.wait(FOLLOW_SECONDS):
                yield {self.progress: _describe_progress(job)}
            listed = zip(self.listed, list_exports(forge, model_id), strict=True)
            yield {self.progress: _describe_end(job), self.cancel: gr.Button(visible=False), **dict(listed)}

        def delete(export_id: str | None, model_id: str | None) -> list[Any]:
            forge.exports.delete(find_export(forge, export_id).id)
            return list_exports(forge, model_id)

        form = [model, self.format, self.quantization]
        begun = listen(self.start.click, export, form, self.followed)
        fitted = listen(model.change, fit, form, self.fitted)
        followed = listen(fitted.success, follow, model, self.followed)
        model.input(None, None, None, cancels=[begun, followed], api_visibility="private")  # the export itself goes on
        for field in (self.format, self.quantization):
            listen(field.input, choose, form, [self.quantization, self.estimate])
        listen(self.cancel.click, lambda model_id: forge.exports.cancel(model_id or ""), model)
        listen(self.exports.input, lambda export_id: show_export(forge, export_id), self.exports, self.shown)
        listen(self.fetch.click, lambda export_id: offer_files(forge, export_id), self.exports, self.files)
        self.deletion.attach(delete, [self.exports, model], self.listed)


def _is_quantized(format: str | None) -> bool:
    return format in FORMATS and FORMATS[format].is_quantized


def describe_form(forge: Forge, model_id: str | None, format: str | None, quantization: str | None) -> list[Any]:
    """[quantization, estimate]: whether there is one; how large the files will be, or why they cannot be written."""
    field = gr.Dropdown(visible=_is_quantized(format))
    chosen = FORMATS.get(format or "")
    if chosen is None:
        return [field, ""]
    try:
        record = forge.models.find(model_id or "")
        name = check_format(record, format or "", (quantization or "") if chosen.is_quantized else "")
        found = forge.exports.estimate(record, format or "", name)
    except ModelForgeError as error:
        return [field, html.note(str(error), "warning")]
    if found is None:
        return [field, html.note(f"{chosen.sentence} The base model is downloaded first.")]
    size, room = found
    free = detect().free_disk_bytes
    sentence = (
        f"{chosen.sentence} About {describe_bytes(size)}; while it is written, {describe_bytes(room)} of the disk are "
        f"needed, and {describe_bytes(free)} are free."
    )
    return [field, html.note(sentence, "quiet" if room < free else "bad")]


def _describe_progress(job: Job) -> str:
    return html.bar(job.share, f"{TITLES[job.step]}: {job.share:.0%}")


def _describe_end(job: Job | None) -> str:
    if job is None:
        return ""
    if job.error:
        return html.note(job.error, "quiet" if job.is_cancelled else "bad")
    return html.note("Exported and checked.", "good")


def list_exports(forge: Forge, model_id: str | None) -> list[Any]:
    """Values of `ExportPanel.listed`: the newest is chosen."""
    found = forge.exports.all(model_id) if model_id else []
    choices = [(f"{_name(each)} · {html.date(each.created)}", each.id) for each in found]
    newest = found[0].id if found else None
    return [gr.Column(visible=bool(found)), select(choices, newest), *show_export(forge, newest)]


def show_export(forge: Forge, export_id: str | None) -> list[Any]:
    """Values of `ExportPanel.shown`."""
    hidden = gr.File(value=None, visible=False)
    if not export_id:
        return ["", hidden]
    export = find_export(forge, export_id)
    return [describe_parity(export.parity) + _describe_files(forge, export), hidden]


def find_export(forge: Forge, export_id: str | None) -> ExportRecord:
    found = next((each for each in forge.exports.all() if each.id == export_id), None)
    if found is None:
        raise NotFoundError("This export is not there any more.", fix="Choose another one.")
    return found


def describe_parity(parity: dict[str, Any]) -> str:
    """How the exported files answered, as sentences and a table."""
    prompts = f"{parity['prompts']} prompt{'' if parity['prompts'] == 1 else 's'}"
    sentence = (
        f"Loaded back with {parity['engine']} and given {prompts}: {parity['token_agreement']:.1%} of "
        f"{parity['tokens']} tokens are the same (at least {parity['bound']:.0%} must be), and the chat template gives "
        "the same text."
    )
    rows = [
        {"": "First token of an answer is the same", "Result": f"{parity['first_token_agreement']:.0%}"},
        {"": "Whole answer is the same, word for word", "Result": f"{parity['same_text']:.0%}"},
        {"": "Loss a token, model → exported", "Result": f"{parity['loss_before']:.4f} → {parity['loss_after']:.4f}"},
        {"": "Largest change of the loss of one token", "Result": f"{parity['largest_loss_change']:.4f}"},
    ]
    other = parity.get("divergence")
    notes = [
        *parity.get("notes", ()),
        *([f"First difference: {other['found']!r} instead of {other['wanted']!r} in the answer to {other['prompt']!r}."]
          if other else []),
    ]  # fmt: skip
    return html.note(sentence, "good") + html.table(rows) + "".join(html.aside(note) for note in notes)


def _describe_files(forge: Forge, export: ExportRecord) -> str:
    names = [each["name"] for each in export.files]
    sizes = [{"File": each["name"], "Size": describe_bytes(each["bytes"])} for each in export.files]
    folder = str(forge.exports.path(export)) if current_caller().is_local else ""
    record = next((each for each in forge.models.all() if each.id == export.model_id), None)
    commands = list_commands(
        export.format,
        record.name if record else "model",
        record.base_model if record else "",
        folder or _DOWNLOADED,
        names,
    )
    place = [("Folder", folder)] if folder else []
    used = html.pairs([*place, *commands.items()])
    hint = "" if folder else html.aside(f"{_DOWNLOADED} stands for the folder with the downloaded files.")
    return html.table(sizes) + used + hint


def offer_files(forge: Forge, export_id: str | None) -> Any:
    """The files of an export, to be downloaded."""
    export = find_export(forge, export_id)
    folder, copies = forge.exports.path(export), []
    check_space(folder, 2 * sum(each["bytes"] for each in export.files))
    for each in export.files:
        copy = make_file(each["name"])
        try:
            copy.hardlink_to(folder / each["name"])
        except OSError:  # some drives have no links
            shutil.copyfile(folder / each["name"], copy)
        copies.append(str(copy))
    return gr.File(value=copies, visible=True)


def _name(export: ExportRecord) -> str:
    return f"{FORMATS[export.format].title} {export.quantization.upper()}".strip()
