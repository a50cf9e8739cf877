"""The library of finished models: details, evaluation, rename, delete; and the way to training, Playground and Hub."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import gradio as gr

from modelforge import warmup
from modelforge.choices.methods import METHODS
from modelforge.choices.tunings import TUNINGS
from modelforge.forge import Forge
from modelforge.models.outcomes import read_outcomes
from modelforge.recipe import Task
from modelforge.store import ModelRecord
from modelforge.tasks import TASKS
from modelforge.ui.look import html
from modelforge.ui.look.background import FOLLOW_SECONDS, BackgroundCall
from modelforge.ui.look.choices import DeleteButtons, pick, select
from modelforge.ui.look.events import listen
from modelforge.ui.look.metrics import describe_change, show_metrics
from modelforge.ui.look.verdict import show_verdict
from modelforge.ui.models.batch import BatchPanel
from modelforge.ui.models.export import ExportPanel
from modelforge.ui.models.serve import ServingPanel
from modelforge.ui.rows import RowsPanel, show_rows

if TYPE_CHECKING:
    from modelforge.models.evaluate import Evaluation

EVALUATED_ROWS = 40  # each takes some seconds on a CPU
_FIRST_SHARE = 0.05  # of the work, after which the time that is left is estimated
MOST_PROBLEMS = 5  # shown one by one when old models are imported


class ModelsTab:
    """Its components; `chosen` holds the id of the model that the buttons act on."""

    def __init__(self) -> None:
        gr.HTML(
            html.title(
                "Models",
                "The models of your finished runs: adapters, which need their base model, or whole models.",
            )
        )
        with gr.Row(visible=False, elem_classes="mf-actions") as self.old:
            gr.HTML(html.note("There are models of an older ModelForge on this machine. Importing copies them."))
            self.import_old = gr.Button(
                "Import them", variant="primary", scale=0, min_width=160, elem_id="models-import"
            )
        self.table = gr.HTML(elem_id="models-table")
        with gr.Row(visible=False) as self.panel:
            with gr.Column(scale=1, min_width=300):
                self.chosen = gr.Dropdown(
                    [], label="Model", info="What the buttons below act on.", elem_id="models-chosen"
                )
                self.name = gr.Textbox(label="Name", max_length=120, elem_id="models-name")
                with gr.Row(elem_classes="mf-actions"):
                    self.chat = gr.Button("Chat →", variant="primary", elem_id="models-try")
                    self.further = gr.Button("Train further →", elem_id="models-further")
                    self.push = gr.Button("Push to the Hub →")
                with gr.Row(elem_classes="mf-actions"):
                    self.rename = gr.Button("Rename", elem_id="models-rename")
                    self.deletion = DeleteButtons("models-delete")
            with gr.Column(scale=2, min_width=320):
                self.details = gr.HTML(elem_id="models-details")
                with gr.Row(elem_classes="mf-actions"):
                    self.limit = gr.Number(
                        EVALUATED_ROWS, label="Held-out rows, at most", precision=0, minimum=1, min_width=200, scale=0,
                        elem_id="models-evaluate-rows",
                    )  # fmt: skip
                    self.evaluate = gr.Button("Evaluate", scale=0, min_width=140, elem_id="models-evaluate")
                    self.cancel = gr.Button(
                        "Cancel", visible=False, scale=0, min_width=110, elem_id="models-evaluate-cancel"
                    )
                self.running = gr.State(None)
                self.evaluation = gr.HTML("", elem_id="models-evaluation")
        self.rows = RowsPanel()
        self.serving = ServingPanel()
        self.batches = BatchPanel()
        self.export = ExportPanel()
        self.described = [self.name, self.details, *self.rows.shown]
        self.shown = [self.old, self.table, self.panel, self.chosen, *self.described]


def build(forge: Forge) -> ModelsTab:
    tab = ModelsTab()

    def choose(model_id: str | None) -> list[Any]:
        return [*describe_choice(forge, model_id), *tab.deletion.ask(False), ""]

    def evaluate(model_id: str | None, limit: int | None) -> Iterator[dict[Any, Any]]:
        """A progress bar, then the verdict, the metrics, and the rows."""
        record = forge.models.find(model_id or "")
        forge.runs.refuse_beside_run()

        def measure(watch: Callable[[float], None]) -> Evaluation:
            warmup.wait()
            return forge.models[record.id].evaluate(limit=int(limit or EVALUATED_ROWS), watch=watch)

        call, began = BackgroundCall(measure), time.monotonic()
        bar = html.bar(0, "Loading the model …")
        yield {tab.evaluation: bar, tab.running: call, tab.cancel: gr.Button(visible=True)}
        ended = {tab.running: None, tab.cancel: gr.Button(visible=False)}
        while not call.wait(FOLLOW_SECONDS):
            yield {tab.evaluation: show_progress(call.progress, time.monotonic() - began)}
        try:
            found = call.result()
        except CancelledError:
            yield {tab.evaluation: html.note("Cancelled; nothing was measured."), **ended}
        except Exception as error:
            yield {tab.evaluation: html.note(str(error), "bad"), **ended}
            raise
        else:
            rows = dict(zip(tab.rows.shown, show_rows(found.measured), strict=True))
            yield {tab.evaluation: show_evaluation(found), **rows, **ended}

    def cancel(call: BackgroundCall[Any] | None) -> None:
        if call is not None:
            call.cancel()

    def rename(model_id: str | None, name: str) -> list[Any]:
        return show_models(forge, forge.models.rename(model_id or "", name).id)

    def delete(model_id: str | None) -> list[Any]:
        forge.models.delete(model_id or "")
        return show_models(forge)

    def import_old() -> list[Any]:
        done = forge.legacy.import_models()
        gr.Info(f"{done.imported} models imported, {done.skipped} skipped.")
        for problem in done.problems[:MOST_PROBLEMS]:
            gr.Warning(html.text(f"{problem.name}: {problem.problem} {problem.fix}"))
        return show_models(forge)

    listen(tab.import_old.click, import_old, None, tab.shown)
    listen(tab.chosen.change, choose, tab.chosen, [*tab.described, *tab.deletion.buttons, tab.evaluation])
    progress = [tab.evaluation, tab.running, tab.cancel]
    listen(tab.evaluate.click, evaluate, [tab.chosen, tab.limit], [*progress, *tab.rows.shown])
    listen(tab.cancel.click, cancel, tab.running)
    tab.rows.attach()
    tab.serving.attach(forge, tab.chosen)
    tab.batches.attach(forge, tab.chosen)
    tab.export.attach(forge, tab.chosen)
    listen(tab.rename.click, rename, [tab.chosen, tab.name], tab.shown)
    tab.deletion.attach(delete, tab.chosen, tab.shown)
    return tab


def show_models(forge: Forge, chosen: str | None = None) -> list[Any]:
    """Values of `ModelsTab.shown`."""
    records = forge.models.all()
    table = html.table(
        (
            {
                "Name": _label(forge, each),
                "Task": each.task,
                "Method": f"{each.method}, {each.tuning}",
                "Base model": each.base_model,
                "Made": html.date(each.created),
                "Measured, before → tuned": describe_change(each.metrics),
                "Dataset": each.dataset_name,
            }
            for each in records
        ),
        empty="No model yet. Train one: the Train tab has everything chosen for a first try.",
    )
    choices = _list_choices(forge)
    picked = pick(choices, chosen)
    old = gr.Row(visible=forge.legacy.find() is not None)
    return [old, table, gr.Row(visible=bool(records)), select(choices, picked), *describe_choice(forge, picked)]


def offer_models(forge: Forge, chosen: str | None = None) -> Any:
    """The dropdown of models on another tab, with `chosen` or the newest one whose files are all there selected."""
    records = forge.models.all()
    if chosen not in [each.id for each in records]:
        chosen = next((each.id for each in records if not forge.models.find_problem(each)), None)
    info = "" if records else "No model yet. Train one first: the Train tab has everything chosen."
    return select(_list_choices(forge), chosen, info=info)


def _list_choices(forge: Forge) -> list[tuple[str, str]]:
    """(label, id) of every model, the newest first."""
    return [(f"{_label(forge, each)} · {html.date(each.created)}", each.id) for each in forge.models.all()]


def check_usable(forge: Forge, model_id: str | None) -> str:
    """The id of a model whose files are all there. Raises NotFoundError."""
    record = forge.models.find(model_id or "")
    if problem := forge.models.find_problem(record):
        raise problem
    return record.id


def _label(forge: Forge, record: ModelRecord) -> str:
    return f"{record.name} (files missing or damaged)" if forge.models.find_problem(record) else record.name


def describe_choice(forge: Forge, model_id: str | None) -> list[Any]:
    """Values of `ModelsTab.described` for one model."""
    known = {each.id: each for each in forge.models.all()}
    record = known.get(model_id or "")
    if record is None:
        return ["", "", *show_rows(None)]
    problem = forge.models.find_problem(record)
    manifest = {} if problem else forge.models.manifest(record)
    note = html.note(str(problem), "bad") if problem else ""
    parent = record.parent and (known[record.parent].name if record.parent in known else f"{record.parent} (deleted)")
    counts = manifest.get("dataset", {})
    dataset = record.dataset_name
    if "train_rows" in counts:
        dataset += f": {counts['train_rows']} rows for training, {counts['eval_rows']} held out"
    facts = {
        "Base model": record.base_model,
        "Source of the base model": manifest.get("base_source"),
        "Dataset": dataset,
        "Dataset hash": counts.get("sha256"),
        "Trained further from": parent,
        "Run": record.run_id,
        "Id": record.id,
        "Folder": forge.models.path(record),
    }
    known_facts = html.pairs((name, value) for name, value in facts.items() if value)
    numbers = [
        ("Task", TASKS[Task(record.task)].title),
        ("Method", METHODS[record.method].title),
        ("Tuning", TUNINGS[record.tuning].title),
    ]
    if "steps" in manifest:
        numbers += [("Steps", manifest["steps"]), ("Training time", html.seconds(manifest.get("seconds", 0)))]
    verdict = record.metrics.get("verdict")
    card = show_verdict(verdict) if verdict else ""
    shown = note + card + html.tiles(numbers) + show_metrics(record.metrics) + known_facts
    return [record.name, shown, *show_rows(None if problem else read_outcomes(record.id))]


def show_progress(share: float | None, seconds: float) -> str:
    """A bar with the time that is left. share: None while the model is loaded."""
    if share is None:
        return html.bar(0, "Loading the model …")
    left = f", about {html.seconds(seconds * (1 - share) / share)} left" if share > _FIRST_SHARE else ""
    return html.bar(share, f"Answering the held-out rows: {share:.0%}{left}")


def show_evaluation(found: Evaluation) -> str:
    """The verdict and all that was measured."""
    metrics = found.as_metrics()
    rows = f"Measured on {found.rows} held-out row{'' if found.rows == 1 else 's'}."
    return show_verdict(metrics["verdict"]) + show_metrics(metrics) + html.aside(rows)
