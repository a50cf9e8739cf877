"""The Dataset tab: opens a file, pasted rows, a sample or a dataset of the Hub, and shows the verdict, the mapping,
problems, fixes and what the model sees. Its widgets are in `widgets`, the saved datasets in `library`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from modelforge import paths
from modelforge.data import hub_dataset
from modelforge.data.samples import samples
from modelforge.data.split import find_leaks
from modelforge.errors import DatasetError, ModelForgeError
from modelforge.forge import Forge
from modelforge.recipe import STARTER, Recipe
from modelforge.ui.dataset import outputs, preview, view
from modelforge.ui.dataset.library import attach_library, show_library
from modelforge.ui.dataset.reports import BackgroundCheck, CheckRequest, LatestRequest, ReportCache
from modelforge.ui.dataset.widgets import DatasetTab
from modelforge.ui.look import html
from modelforge.ui.look.events import listen, listen_all

QUICK_SECONDS = 0.4  # a progress bar that disappears before it can be read only flickers
PASTED_KEPT_SECONDS = 24 * 3600


def build(forge: Forge) -> DatasetTab:
    tab, reports = DatasetTab(), ReportCache()
    _attach_sources(tab, reports)
    changes = _attach_mapping(tab, reports)
    _attach_preview(tab, reports)
    _attach_evaluation(tab, reports, changes)
    _attach_save(forge, tab, reports)
    attach_library(forge, tab.library)
    return tab


def _attach_sources(tab: DatasetTab, reports: ReportCache) -> None:
    """Everything that opens or closes a file."""
    opened = [*tab.opening_outputs, *tab.report_outputs]

    def open_path(latest: LatestRequest, path: str, name: str, **kept: Any) -> Iterator[list[Any]]:
        """A new file: guess everything. kept: the widget that it came from, unchanged."""
        number, opening = latest.begin(), _open(path, name, **kept)
        yield from latest.send(number, [*opening, *outputs.show_unsure(len(tab.report_outputs))])
        for shown in _check(reports, latest, number, CheckRequest(path)):
            yield [*[gr.skip()] * len(opening), *shown]

    def open_file(latest: LatestRequest, path: str) -> Iterator[list[Any]]:
        yield from open_path(latest, path, Path(path).stem, file=gr.skip())

    def open_sample(latest: LatestRequest, wanted: str | None) -> Iterator[list[Any]]:
        sample = next((sample for sample in samples() if sample.name == wanted), None)
        if sample:
            yield from open_path(latest, str(sample.path), sample.name, sample=gr.skip())
        else:  # the dropdown was emptied because something else was opened
            yield [gr.skip()] * len(opened)

    def open_pasted(latest: LatestRequest, text: str) -> Iterator[list[Any]]:
        yield from open_path(latest, str(_keep_pasted(text)), "Pasted rows")

    def open_hub(latest: LatestRequest, dataset_id: str, config: str, split: str) -> Iterator[list[Any]]:
        number = latest.begin()
        waiting = outputs.show_waiting(html.note(f"Downloading {dataset_id.strip()} from the Hub …"))
        yield from latest.send(number, [*_open(), *waiting])
        try:
            path = hub_dataset.fetch(dataset_id.strip(), config.strip() or None, split.strip() or None)
        except ModelForgeError as error:
            yield from latest.send(number, [*_open(), *outputs.show_nothing(html.note(str(error), "bad"))])
            return
        if not latest.is_outdated(number):
            yield from open_path(latest, str(path), dataset_id.strip())

    def close(latest: LatestRequest, sentence: str) -> list[Any]:
        latest.begin(closed_with=sentence)
        return [*_open(), *outputs.show_nothing(html.note(sentence))]

    hub = [tab.hub_id, tab.hub_config, tab.hub_split]
    listen_all([tab.file.upload], open_file, [tab.latest, tab.file], opened)
    # Not `input`, which Gradio's dropdown sends twice.
    listen_all([tab.sample.change], open_sample, [tab.latest, tab.sample], opened)
    listen_all([tab.check_pasted.click], open_pasted, [tab.latest, tab.pasted], opened)
    listen_all([tab.fetch.click], open_hub, [tab.latest, *hub], opened)
    listen(tab.file.clear, lambda latest: close(latest, view.NOTHING_OPEN), tab.latest, opened)
    listen(tab.cancel.click, lambda latest: close(latest, view.CANCELLED), tab.latest, opened)


def _attach_mapping(tab: DatasetTab, reports: ReportCache) -> list[Any]:
    """Another shape, column or fix: the file is checked again. Returns the events."""

    def check_again(latest: LatestRequest, max_length: float, request: CheckRequest | None) -> Iterator[list[Any]]:
        number = latest.begin()
        yield from latest.send(number, outputs.show_unsure(len(tab.report_outputs)))
        if request:  # otherwise the file was closed in the meantime
            yield from _check(reports, latest, number, request, max_length or 0)

    def change_shape(
        latest: LatestRequest, max_length: float, path: str, shape: str, repairs: list[str], *_: str
    ) -> Iterator[list[Any]]:
        yield from check_again(latest, max_length, CheckRequest(path, shape, tuple(repairs)) if path else None)

    def change_mapping(latest: LatestRequest, max_length: float, path: str, *mapped: Any) -> Iterator[list[Any]]:
        yield from check_again(latest, max_length, CheckRequest.read(path, *mapped) if path else None)

    inputs = [tab.latest, tab.max_length, *tab.mapped]
    roles = [role.input for role in tab.roles.values()]
    return [
        listen_all([tab.shape.input], change_shape, inputs, tab.report_outputs),
        listen_all([tab.repairs.input, *roles], change_mapping, inputs, tab.report_outputs),
    ]


def _attach_preview(tab: DatasetTab, reports: ReportCache) -> None:
    def show_row(row: float, max_length: float, path: str, *mapped: Any) -> list[Any]:
        if not path:
            return [gr.skip(), gr.skip()]
        report = reports.get(CheckRequest.read(path, *mapped))
        return outputs.show_row(report, int(row or 1), int(max_length or Recipe().max_length))

    inputs = [tab.row, tab.max_length, *tab.mapped]
    listen_all([tab.row.input, tab.max_length.input], show_row, inputs, [tab.preview, tab.lengths])


def _attach_evaluation(tab: DatasetTab, reports: ReportCache, changes: list[Any]) -> None:
    def compare(path: str | None, *mapped: Any) -> list[Any]:
        if not path:
            return ["", ""]
        request = CheckRequest.read(*mapped)
        training, evaluation = reports.get(request), reports.get(request.of_file(path))
        if not evaluation.ok:
            return ["", view.show_verdict(evaluation) + view.show_problems(evaluation)]
        leaks = find_leaks(training.mapped_rows, evaluation.mapped_rows)
        return [path, view.show_leaks(leaks, training.mapped_rows, evaluation.mapped_rows)]

    compared = [tab.evaluation_file, *tab.mapped], [tab.evaluation, tab.leaks]
    listen_all([tab.evaluation_file.upload, tab.evaluation_file.clear], compare, *compared)
    for change in changes:  # another mapping or fix can change which rows are in both files
        listen(change.then, compare, *compared)


def _attach_save(forge: Forge, tab: DatasetTab, reports: ReportCache) -> None:
    def save(name: str, evaluation: str, max_length: float, *mapped: Any) -> list[Any]:
        request = CheckRequest.read(*mapped)
        report = reports.get(request)
        record = forge.datasets.add(report, name=name)
        eval_dataset = ""
        if evaluation:
            other = reports.get(request.of_file(evaluation))
            eval_dataset = forge.datasets.add(other, name=f"{record.name} (evaluation)").id
        suggested = outputs.limit(int(max_length)) if max_length else outputs.suggest_max_length(report.mapped_rows)
        longest = preview.longest_row(report.mapped_rows, STARTER)
        forge.datasets.suggest(record.id, max_length=suggested, longest=longest, eval_dataset=eval_dataset)
        return show_library(forge, record.id)

    inputs = [tab.name, tab.evaluation, tab.max_length, *tab.mapped]
    tab.saved = listen(tab.save.click, save, inputs, tab.library.outputs, show_progress="minimal")


def _check(
    reports: ReportCache, latest: LatestRequest, number: int, request: CheckRequest, max_length: float | None = None
) -> Iterator[list[Any]]:
    """Values of `DatasetTab.report_outputs`: the progress, then the verdict, then what the model sees.

    max_length: what is chosen on the page, None for a file that is new.
    """
    checking = BackgroundCheck(reports, request)
    others: list[Any] = []
    try:
        while not latest.is_outdated(number) and not checking.wait(QUICK_SECONDS):
            progress = view.show_progress(checking.share)
            shown = [progress, *others] if others else outputs.show_waiting(progress, is_new=max_length is None)
            yield from latest.send(number, shown)
            others = [gr.skip()] * (len(shown) - 1)  # sending the same again would keep the page busy
    finally:
        checking.cancel()
    if latest.is_outdated(number):
        if latest.closed_with:  # sent here too: a page can receive what two handlers send in any order
            yield outputs.show_nothing(html.note(latest.closed_with))
        return
    try:
        report = checking.report()
    except ModelForgeError as error:
        yield from latest.send(number, outputs.show_nothing(html.note(str(error), "bad")))
        return
    shown = outputs.show_report(report, request)
    yield from latest.send(number, [*shown, *[gr.skip()] * 4])
    # Sent once more with the preview: a busy page loses the first appearance of some widgets.
    yield from latest.send(number, [*shown, *outputs.show_first_row(report, int(max_length or 0))])


def _open(path: str = "", name: str = "", *, file: Any = None, sample: Any = None) -> list[Any]:
    """Values of `DatasetTab.opening_outputs`."""
    return [file, sample, path, name, "", None, ""]


def _keep_pasted(text: str) -> Path:
    """Write the pasted text to a file, in a folder from which old ones are deleted here."""
    if not text.strip():
        raise DatasetError("Nothing was pasted.", fix="Paste some rows first.")
    folder = paths.cache_dir() / "pasted"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if time.time() - old.stat().st_mtime > PASTED_KEPT_SECONDS:
            old.unlink(missing_ok=True)
    written = text.encode("utf-8", "replace")
    path = folder / f"{hashlib.sha256(written).hexdigest()[:16]}.txt"
    path.write_bytes(written)
    return path
