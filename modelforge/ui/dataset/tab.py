"""The Dataset tab: opens a file, pasted rows, a sample or a dataset of the Hub, and shows the verdict, the mapping,
problems, fixes and what the model sees. Its widgets are in `widgets`, what they show in `view`, the saved datasets in
`library`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from modelforge.data import hub_dataset
from modelforge.data.samples import samples
from modelforge.data.split import find_leaks
from modelforge.errors import DatasetError, ModelForgeError
from modelforge.forge import Forge
from modelforge.recipe import Recipe
from modelforge.store.files import save_file
from modelforge.ui.dataset import preview, view
from modelforge.ui.dataset.reports import CheckRequest, LatestRequest
from modelforge.ui.dataset.view import Updates
from modelforge.ui.dataset.widgets import NOTHING_OPEN, DatasetTab
from modelforge.ui.look import html
from modelforge.ui.look.background import BackgroundCall
from modelforge.ui.look.events import listen, listen_all
from modelforge.ui.look.files import make_file

QUICK_SECONDS = 0.4  # a progress bar that disappears before it can be read only flickers
CANCELLED = "Reading was cancelled; nothing was saved. Drop a file, or choose a sample."


def build(forge: Forge) -> DatasetTab:
    tab = DatasetTab(forge)
    _attach_sources(tab)
    changes = _attach_mapping(tab)
    _attach_preview(tab)
    _attach_evaluation(tab, changes)
    _attach_save(forge, tab)
    return tab


def _attach_sources(tab: DatasetTab) -> None:
    """Everything that opens or closes a file."""

    def open_path(latest: LatestRequest, path: str, name: str, kept: Any = None) -> Iterator[Updates]:
        """A new file: guess everything. kept: the widget that it came from."""
        number = latest.begin()
        yield from latest.send(number, {**_open(tab, path, name, kept), **view.show_unsure(tab)})
        yield from _check(tab, latest, number, CheckRequest(path))

    def open_file(latest: LatestRequest, path: str) -> Iterator[Updates]:
        yield from open_path(latest, path, Path(path).stem, tab.file)

    def open_sample(latest: LatestRequest, wanted: str | None) -> Iterator[Updates]:
        sample = next((sample for sample in samples() if sample.name == wanted), None)
        if sample:
            yield from open_path(latest, str(sample.path), sample.name, tab.sample)
        else:  # the dropdown was emptied because something else was opened
            yield gr.skip()

    def open_pasted(latest: LatestRequest, text: str) -> Iterator[Updates]:
        yield from open_path(latest, str(_keep_pasted(text)), "Pasted rows")

    def open_hub(latest: LatestRequest, dataset_id: str, config: str, split: str) -> Iterator[Updates]:
        number = latest.begin()
        waiting = html.note(f"Downloading {dataset_id.strip()} from the Hub …")
        yield from latest.send(number, {**_open(tab), **view.show_waiting(tab, waiting)})
        try:
            path = hub_dataset.fetch(dataset_id.strip(), config.strip() or None, split.strip() or None)
        except ModelForgeError as error:
            yield from latest.send(number, {**_open(tab), **view.show_nothing(tab, html.note(str(error), "bad"))})
            return
        if not latest.is_outdated(number):
            yield from open_path(latest, str(path), dataset_id.strip())

    def close(latest: LatestRequest, sentence: str) -> Updates:
        latest.begin(closed_with=sentence)
        return {**_open(tab), **view.show_nothing(tab, html.note(sentence))}

    hub = [tab.hub_id, tab.hub_config, tab.hub_split]
    listen_all([tab.file.upload], open_file, [tab.latest, tab.file], tab.outputs)
    # Not `input`, which Gradio's dropdown sends twice.
    listen_all([tab.sample.change], open_sample, [tab.latest, tab.sample], tab.outputs)
    listen_all([tab.check_pasted.click], open_pasted, [tab.latest, tab.pasted], tab.outputs)
    listen_all([tab.fetch.click], open_hub, [tab.latest, *hub], tab.outputs)
    listen(tab.file.clear, lambda latest: close(latest, NOTHING_OPEN), tab.latest, tab.outputs)
    listen(tab.cancel.click, lambda latest: close(latest, CANCELLED), tab.latest, tab.outputs)


def _attach_mapping(tab: DatasetTab) -> list[Any]:
    """Another shape, column or fix: the file is checked again. Returns the events."""

    def check_again(
        latest: LatestRequest, max_length: float, path: str, shape: str, *mapped: Any, guess: bool
    ) -> Iterator[Updates]:
        """guess: which column has which role."""
        number = latest.begin()
        yield from latest.send(number, view.show_unsure(tab))
        if path:  # otherwise the file was closed in the meantime
            repairs = mapped[0]
            request = CheckRequest(path, shape, tuple(repairs)) if guess else CheckRequest.read(path, shape, *mapped)
            yield from _check(tab, latest, number, request, max_length or 0)

    inputs = [tab.latest, tab.max_length, *tab.mapped]
    roles = [role.input for role in tab.roles.values()]
    return [
        listen_all([tab.shape.input], partial(check_again, guess=True), inputs, tab.outputs),
        listen_all([tab.repairs.input, *roles], partial(check_again, guess=False), inputs, tab.outputs),
    ]


def _attach_preview(tab: DatasetTab) -> None:
    def show_row(row: float, max_length: float, path: str, *mapped: Any) -> Any:
        if not path:
            return gr.skip()
        report = tab.reports.get(CheckRequest.read(path, *mapped))
        return view.show_row(report, int(row or 1), int(max_length or Recipe().max_length))

    inputs = [tab.row, tab.max_length, *tab.mapped]
    listen_all([tab.row.input, tab.max_length.input], show_row, inputs, tab.shown_row)


def _attach_evaluation(tab: DatasetTab, changes: list[Any]) -> None:
    def compare(path: str | None, *mapped: Any) -> list[Any]:
        if not path:
            return ["", ""]
        request = CheckRequest.read(*mapped)
        training, evaluation = tab.reports.get(request), tab.reports.get(replace(request, path=path))
        if not evaluation.ok:
            return ["", view.show_verdict(evaluation) + view.show_problems(evaluation)]
        leaks = find_leaks(training.mapped_rows, evaluation.mapped_rows)
        return [path, view.show_leaks(leaks, training.mapped_rows, evaluation.mapped_rows)]

    compared = [tab.evaluation_file, *tab.mapped], [tab.evaluation, tab.leaks]
    listen_all([tab.evaluation_file.upload, tab.evaluation_file.clear], compare, *compared)
    for change in changes:  # another mapping or fix can change which rows are in both files
        listen(change.then, compare, *compared)


def _attach_save(forge: Forge, tab: DatasetTab) -> None:
    def save(name: str, evaluation: str, max_length: float, *mapped: Any) -> list[Any]:
        request = CheckRequest.read(*mapped)
        report = tab.reports.get(request)
        record = forge.datasets.add(report, name=name)
        eval_dataset = ""
        if evaluation:
            other = tab.reports.get(replace(request, path=evaluation))
            eval_dataset = forge.datasets.add(other, name=f"{record.name} (evaluation)").id
        rows = report.mapped_rows
        suggested = view.limit(int(max_length)) if max_length else view.suggest_max_length(rows)
        lengths = preview.measure_rows(rows)
        longest = lengths.tokens[-1] if lengths and len(lengths.tokens) == len(rows) else 0  # 0: not all were measured
        forge.datasets.suggest(record.id, max_length=suggested, longest=longest, eval_dataset=eval_dataset)
        return tab.library.show(record.id)

    inputs = [tab.name, tab.evaluation, tab.max_length, *tab.mapped]
    tab.saved = listen(tab.save.click, save, inputs, tab.library.outputs, show_progress="minimal")


def _check(
    tab: DatasetTab, latest: LatestRequest, number: int, request: CheckRequest, max_length: float | None = None
) -> Iterator[Updates]:
    """The progress, then the verdict, then what the model sees.

    max_length: what is chosen on the page, None for a file that is new.
    """
    checking = BackgroundCall(lambda note: tab.reports.get(request, note))
    is_shown = False
    try:
        while not latest.is_outdated(number) and not checking.wait(QUICK_SECONDS):
            share = checking.progress or 0.0
            progress = html.bar(share, f"Reading the file: {share:.0%}" if share < 1 else "Comparing rows …")
            waiting = view.show_waiting(tab, progress, is_new=max_length is None)
            # Sending all of it again would keep the page busy.
            yield from latest.send(number, {tab.verdict: progress} if is_shown else waiting)
            is_shown = True
    finally:
        checking.cancel()
    if latest.is_outdated(number):
        if latest.closed_with:  # sent here too: a page can receive what two handlers send in any order
            yield view.show_nothing(tab, html.note(latest.closed_with))
        return
    try:
        report = checking.result()
    except ModelForgeError as error:
        yield from latest.send(number, view.show_nothing(tab, html.note(str(error), "bad")))
        return
    shown = view.show_report(tab, report, request)
    yield from latest.send(number, shown)
    # Sent once more with the preview: a busy page loses the first appearance of some widgets.
    yield from latest.send(number, {**shown, **view.show_first_row(tab, report, int(max_length or 0))})


def _open(tab: DatasetTab, path: str = "", name: str = "", kept: Any = None) -> Updates:
    """What another file changes before it is checked, but for the widget `kept`."""
    emptied = {tab.file: None, tab.sample: None, tab.evaluation: "", tab.evaluation_file: None, tab.leaks: ""}
    emptied.pop(kept, None)
    return {**emptied, tab.opened: path, tab.name: name}


def _keep_pasted(text: str) -> Path:
    """Write the pasted text to a temporary file."""
    if not text.strip():
        raise DatasetError("Nothing was pasted.", fix="Paste some rows first.")
    path = make_file("pasted.txt")
    save_file(path, text.encode("utf-8", "replace"))
    return path
