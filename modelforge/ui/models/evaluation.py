"""Evaluate, part of the Models tab: measures a finished model and what it is compared with on the held-out rows."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from modelforge import warmup
from modelforge.forge import Forge
from modelforge.ui.look import html
from modelforge.ui.look.events import listen
from modelforge.ui.look.metrics import show_metrics
from modelforge.ui.train.reward_preview import refuse_beside_run

if TYPE_CHECKING:  # it loads torch, which the first page must not wait for
    from modelforge.models.evaluate import Evaluation

ROWS = 40  # each takes some seconds on a CPU


class EvaluationPanel:
    """Its components."""

    def __init__(self) -> None:
        with gr.Row(elem_classes="mf-actions"):
            self.limit = gr.Number(
                ROWS, label="Held-out rows, at most", precision=0, minimum=1, min_width=200, scale=0,
                elem_id="models-evaluate-rows",
            )  # fmt: skip
            self.start = gr.Button("Evaluate", scale=0, min_width=140, elem_id="models-evaluate")
        self.result = gr.HTML("", elem_id="models-evaluation")


def attach_evaluation(forge: Forge, chosen: Any, panel: EvaluationPanel) -> None:
    def evaluate(model_id: str | None, limit: int | None) -> Iterator[str]:
        """A progress bar, then the metrics."""
        record = forge.models.find(model_id or "")
        refuse_beside_run(forge)
        results: queue.Queue[float | Evaluation | Exception] = queue.Queue()

        def work() -> None:
            try:
                warmup.wait()
                results.put(forge.models[record.id].evaluate(limit=int(limit or ROWS), watch=results.put))
            except Exception as error:  # noqa: BLE001 - handed to the page, which raises it
                results.put(error)

        threading.Thread(target=work, name="modelforge-evaluate", daemon=True).start()
        yield html.bar(0, "Loading the model …")
        while True:
            match results.get():
                case float() | int() as share:
                    yield html.bar(share, f"Answering the held-out rows: {share:.0%}")
                case Exception() as error:
                    yield html.note(str(error), "bad")
                    raise error
                case result:
                    yield _describe(result)
                    return

    listen(panel.start.click, evaluate, [chosen, panel.limit], panel.result)


def _describe(result: Evaluation) -> str:
    rows = f"Measured on {result.rows} held-out row{'' if result.rows == 1 else 's'}."
    return html.aside(rows) + show_metrics(result.sides)
