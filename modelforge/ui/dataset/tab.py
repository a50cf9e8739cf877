"""Dataset tab: a file, pasted rows, a sample or a dataset of the Hub in; verdict, mapping, problems, repairs and what
the model will see out; then into the library (`dataset_library`)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from modelforge import paths
from modelforge.data import hub_dataset
from modelforge.data.leaks import find_leaks
from modelforge.data.samples import samples
from modelforge.errors import DatasetError, ModelForgeError
from modelforge.forge import Forge
from modelforge.recipe import STARTER, Recipe
from modelforge.ui.dataset import outputs, preview, view
from modelforge.ui.dataset.library import DatasetLibrary, attach_library, show_library
from modelforge.ui.dataset.reports import NONE, ROLES, Looks, Question, Reading, Turn
from modelforge.ui.look import html
from modelforge.ui.look.events import listen, listen_all

QUICK_SECONDS = 0.4  # a progress bar that is gone before it can be read only flickers
PASTED_FOR_SECONDS = 24 * 3600
LONGEST_PASTE = 2_000_000  # characters


class DatasetTab:
    """Its components; `opened` and `evaluation` hold the paths of the files looked at (of this session alone), `turn`
    the look that is waited for."""

    def __init__(self) -> None:
        gr.HTML(
            html.title(
                "Dataset",
                "Drop a file of examples (JSONL, JSON, CSV, Excel, Parquet or text, also zipped), or look at a sample: "
                "every problem is shown with its row.",
            )
        )
        self.opened = gr.State("")
        self.evaluation = gr.State("")
        self.turn = gr.State(Turn())
        self.saved: Any = None  # the event after which the library has one more
        with gr.Row(elem_id="dataset-columns"):
            with gr.Column(scale=1, min_width=300):
                self._build_sources()
                self._build_choices()
            with gr.Column(scale=2, min_width=320):
                self._build_report()
        self.library = DatasetLibrary()

    def _build_sources(self) -> None:
        self.file = gr.File(
            label="Your file",
            elem_id="dataset-file",
            height=150,
        )
        self.sample = gr.Dropdown(
            [(f"{sample.name} ({sample.rows} rows)", sample.name) for sample in samples()],
            label="… or a sample",
            info="Small datasets that come with ModelForge.",
            value=None,
            elem_id="dataset-sample",
        )
        with gr.Accordion("… or paste rows", open=False):
            self.pasted = gr.Textbox(
                label="Rows",
                info="A table copied from a spreadsheet, JSON lines, or plain text.",
                lines=5,
                max_lines=12,
                max_length=LONGEST_PASTE,
                elem_id="dataset-pasted",
            )
            self.look_pasted = gr.Button("Look at them", variant="secondary", elem_id="dataset-look-pasted")
        with gr.Accordion("… or from the Hugging Face Hub", open=False):
            self.hub_id = gr.Textbox(label="Dataset", info="As owner/name.", max_length=120, elem_id="dataset-hub-id")
            with gr.Row():
                self.hub_config = gr.Textbox(label="Config", info="If it has several.", max_length=120, min_width=100)
                self.hub_split = gr.Textbox(label="Split", info="Empty: train.", max_length=120, min_width=100)
            self.fetch = gr.Button("Fetch it", variant="secondary", elem_id="dataset-fetch")

    def _build_choices(self) -> None:
        self.shape = gr.Dropdown(
            list(view.shape_choices()),
            label="What its rows are",
            info="Found out from the columns; change it if the guess is wrong.",
            value=None,
            visible=False,
            elem_id="dataset-shape",
        )
        self.repairs = gr.CheckboxGroup(
            [],
            label="What may be mended",
            info="Nothing is changed or left out unless you tick it; your file stays as it is.",
            visible=False,
            elem_id="dataset-repairs",
        )
        self.name = gr.Textbox(
            label="Name", info="What to call it in the library.", max_length=120, elem_id="dataset-name"
        )
        self.save = gr.Button("Save and go to training →", variant="primary", interactive=False)

    def _build_report(self) -> None:
        self.verdict = gr.HTML(html.note(view.NOTHING_OPEN), elem_id="dataset-verdict")
        self.cancel = gr.Button("Cancel", variant="stop", visible=False, elem_id="dataset-cancel")
        with gr.Group(visible=False) as self.mapping:
            gr.HTML('<div class="mf-group-title">Which column plays which role</div>')
            with gr.Row(elem_classes="mf-settings"):
                self.roles = {
                    name: gr.Dropdown(
                        [NONE],
                        value=NONE,
                        label=name,
                        info=role.help,
                        visible=False,
                        min_width=180,
                        elem_id=f"role-{name}",
                    )
                    for name, role in ROLES.items()
                }
        self.unused = gr.HTML("")
        self.problems = gr.HTML("", elem_id="dataset-problems")
        self.all_problems = gr.DownloadButton(
            "All problems as a table (CSV)", variant="secondary", visible=False, elem_id="dataset-all-problems"
        )
        with gr.Column(visible=False) as self.seen:
            gr.HTML("<h3>What the model will see</h3>")
            with gr.Row(elem_classes="mf-actions"):
                self.row = gr.Number(1, label="Row", precision=0, minimum=1, min_width=110, elem_id="dataset-row")
                self.max_length = gr.Number(
                    Recipe().max_length,
                    label="max_length (tokens)",
                    precision=0,
                    minimum=8,
                    min_width=110,
                    elem_id="dataset-max-length",
                )
            self.preview = gr.HTML("", elem_id="dataset-preview")
            self.lengths = gr.HTML("", elem_id="dataset-lengths")
            with gr.Accordion("Measure with a file of its own", open=False):
                gr.HTML(
                    "<p>By default a share of the rows is held out. With a file of its own, all rows are trained on; "
                    "it is searched for rows that training has seen.</p>"
                )
                self.evaluation_file = gr.File(label="Evaluation file", height=110, elem_id="dataset-evaluation-file")
                self.leaks = gr.HTML("", elem_id="dataset-leaks")

    @property
    def mapped(self) -> list[Any]:
        """What decides how a file is looked at."""
        return [self.opened, self.shape, self.repairs, *self.roles.values()]

    @property
    def report_outputs(self) -> list[Any]:
        return [
            self.verdict,
            self.cancel,
            self.save,
            self.shape,
            self.repairs,
            self.mapping,
            *self.roles.values(),
            self.unused,
            self.problems,
            self.all_problems,
            self.seen,
            self.row,
            self.max_length,
            self.preview,
            self.lengths,
        ]

    @property
    def opening_outputs(self) -> list[Any]:
        """What another file changes, before it is looked at; as `_open` gives it."""
        return [self.file, self.sample, self.opened, self.name, self.evaluation, self.evaluation_file, self.leaks]


def build(forge: Forge) -> DatasetTab:  # noqa: PLR0915 - handlers beside the widgets that they serve
    tab = DatasetTab()
    looks = Looks()
    count = len(tab.report_outputs)

    def look(turn: Turn, taken: int, question: Question, max_length: float | None = None) -> Iterator[list[Any]]:
        """Everything that shows a file: how far the reading is, then the verdict, then what the model will see.

        max_length: what the user looks at it with, None for a file that is new.
        """
        reading = Reading(looks, question)
        others: list[Any] = []
        try:
            while not turn.is_over(taken) and not reading.wait(QUICK_SECONDS):
                said = view.show_progress(reading.share)
                shown = [said, *others] if others else outputs.show_waiting(said, is_new=max_length is None)
                yield from turn.speak(taken, shown)
                others = [gr.skip()] * (count - 1)  # what says no more than before would keep the page busy
        finally:
            reading.give_up()
        if turn.is_over(taken):
            if turn.closed_with:  # said here too: a page can take in what two handlers say in any order
                yield outputs.show_nothing(html.note(turn.closed_with))
            return
        try:
            report = reading.report()
        except ModelForgeError as error:
            yield from turn.speak(taken, outputs.show_nothing(html.note(str(error), "bad")))
            return
        shown = outputs.show_report(report, question)
        yield from turn.speak(taken, [*shown, *[gr.skip()] * 4])
        # Said once more with what the model will see: a busy page loses some widgets' first appearance.
        yield from turn.speak(taken, [*shown, *outputs.show_first_row(report, int(max_length or 0))])

    def open_path(turn: Turn, path: str, name: str, **kept: Any) -> Iterator[list[Any]]:
        """A new file: guess everything. kept: the widget that it came from, as it is."""
        taken, opening = turn.take(), _open(path, name, **kept)
        yield from turn.speak(taken, [*opening, *outputs.show_unsure(count)])
        for shown in look(turn, taken, Question(path)):
            yield [*[gr.skip()] * len(opening), *shown]

    def open_file(turn: Turn, path: str) -> Iterator[list[Any]]:
        yield from open_path(turn, path, Path(path).stem, file=gr.skip())

    def open_sample(turn: Turn, wanted: str | None) -> Iterator[list[Any]]:
        sample = next((sample for sample in samples() if sample.name == wanted), None)
        if sample:
            yield from open_path(turn, str(sample.path), sample.name, sample=gr.skip())
        else:  # something else was opened
            yield [gr.skip()] * (len(tab.opening_outputs) + count)

    def open_pasted(turn: Turn, text: str) -> Iterator[list[Any]]:
        yield from open_path(turn, str(_keep_pasted(text)), "Pasted rows")

    def open_hub(turn: Turn, dataset_id: str, config: str, split: str) -> Iterator[list[Any]]:
        taken = turn.take()
        waiting = outputs.show_waiting(html.note(f"Fetching {dataset_id.strip()} from the Hub …"))
        yield from turn.speak(taken, [*_open(), *waiting])
        try:
            path = hub_dataset.fetch(dataset_id.strip(), config.strip() or None, split.strip() or None)
        except ModelForgeError as error:
            yield from turn.speak(taken, [*_open(), *outputs.show_nothing(html.note(str(error), "bad"))])
            return
        if not turn.is_over(taken):
            yield from open_path(turn, str(path), dataset_id.strip())

    def close(turn: Turn, said: str) -> list[Any]:
        turn.take(closed_with=said)
        return [*_open(), *outputs.show_nothing(html.note(said))]

    def change_shape(
        turn: Turn, max_length: float, path: str, shape: str, repairs: list[str], *_: str
    ) -> Iterator[list[Any]]:
        taken = turn.take()
        yield from turn.speak(taken, outputs.show_unsure(count))
        if path:  # else it was closed meanwhile
            yield from look(turn, taken, Question(path, shape, tuple(repairs)), max_length or 0)

    def change_mapping(
        turn: Turn, max_length: float, path: str, shape: str, repairs: list[str], *columns: str
    ) -> Iterator[list[Any]]:
        taken = turn.take()
        yield from turn.speak(taken, outputs.show_unsure(count))
        if path:
            yield from look(turn, taken, Question.read(path, shape, repairs, columns), max_length or 0)

    def show_row(row: float, max_length: float, *mapped: Any) -> list[Any]:
        if not mapped[0]:
            return [gr.skip(), gr.skip()]
        report = looks.look(Question.read(mapped[0], mapped[1], mapped[2], mapped[3:]))
        return outputs.show_row(report, int(row or 1), int(max_length or Recipe().max_length))

    def compare(path: str | None, *mapped: Any) -> list[Any]:
        if not path:
            return ["", ""]
        question = Question.read(mapped[0], mapped[1], mapped[2], mapped[3:])
        training = looks.look(question)
        evaluation = looks.look(Question(path, question.shape, question.repairs, question.columns))
        if not evaluation.ok:
            return ["", view.show_verdict(evaluation) + view.show_problems(evaluation)]
        leaks = find_leaks(training.mapped_rows, evaluation.mapped_rows)
        return [path, view.show_leaks(leaks, training.mapped_rows, evaluation.mapped_rows)]

    def save(name: str, evaluation: str, max_length: float, *mapped: Any) -> list[Any]:
        question = Question.read(mapped[0], mapped[1], mapped[2], mapped[3:])
        report = looks.look(question)
        record = forge.datasets.add(report, name=name)
        measured_with = ""
        if evaluation:
            other = looks.look(Question(evaluation, question.shape, question.repairs, question.columns))
            measured_with = forge.datasets.add(other, name=f"{record.name} (evaluation)").id
        suggested = outputs.limit(int(max_length)) if max_length else outputs.suggest_max_length(report.mapped_rows)
        longest = preview.longest_row(report.mapped_rows, STARTER)
        forge.datasets.suggest(record.id, max_length=suggested, longest=longest, eval_dataset=measured_with)
        return show_library(forge, record.id)

    opened = [*tab.opening_outputs, *tab.report_outputs]
    hub = [tab.hub_id, tab.hub_config, tab.hub_split]
    looked_at_with = [tab.turn, tab.max_length, *tab.mapped]
    listen_all([tab.file.upload], open_file, [tab.turn, tab.file], opened)
    # Not `input`, of which Gradio's dropdown tells twice.
    listen_all([tab.sample.change], open_sample, [tab.turn, tab.sample], opened)
    listen_all([tab.look_pasted.click], open_pasted, [tab.turn, tab.pasted], opened)
    listen_all([tab.fetch.click], open_hub, [tab.turn, *hub], opened)
    roles = [role.input for role in tab.roles.values()]
    changes = [
        listen_all([tab.shape.input], change_shape, looked_at_with, tab.report_outputs),
        listen_all([tab.repairs.input, *roles], change_mapping, looked_at_with, tab.report_outputs),
    ]
    listen(tab.file.clear, lambda turn: close(turn, view.NOTHING_OPEN), tab.turn, opened)
    listen(tab.cancel.click, lambda turn: close(turn, view.CANCELLED), tab.turn, opened)
    listen_all(
        [tab.row.input, tab.max_length.input],
        show_row,
        [tab.row, tab.max_length, *tab.mapped],
        [tab.preview, tab.lengths],
    )
    compared = [tab.evaluation_file, *tab.mapped], [tab.evaluation, tab.leaks]
    listen_all([tab.evaluation_file.upload, tab.evaluation_file.clear], compare, *compared)
    for change in changes:  # another mapping or repair can make other leaks
        listen(change.then, compare, *compared)
    tab.saved = listen(
        tab.save.click,
        save,
        [tab.name, tab.evaluation, tab.max_length, *tab.mapped],
        tab.library.outputs,
        show_progress="minimal",
    )
    attach_library(forge, tab.library)
    return tab


def _open(path: str = "", name: str = "", *, file: Any = None, sample: Any = None) -> list[Any]:
    """All of opening_outputs."""
    return [file, sample, path, name, "", None, ""]


def _keep_pasted(text: str) -> Path:
    """A file with the pasted text, in a folder that is swept of old ones here."""
    if not text.strip():
        raise DatasetError("Nothing was pasted.", fix="Paste some rows first.")
    folder = paths.cache_dir() / "pasted"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if time.time() - old.stat().st_mtime > PASTED_FOR_SECONDS:
            old.unlink(missing_ok=True)
    written = text.encode("utf-8", "replace")
    path = folder / f"{hashlib.sha256(written).hexdigest()[:16]}.txt"
    path.write_bytes(written)
    return path
