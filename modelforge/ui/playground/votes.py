"""The votes of a person: counted for each two models, downloaded as preference pairs, made a dataset for DPO."""

from __future__ import annotations

from typing import Any

import gradio as gr

from modelforge.data.checks import check
from modelforge.data.prepare import refuse_errors
from modelforge.errors import RecipeError
from modelforge.forge import Forge
from modelforge.models.votes import write_jsonl
from modelforge.recipe import Task
from modelforge.scores.votes import Tally
from modelforge.store import utc_now
from modelforge.store.files import save_file
from modelforge.ui.look import html
from modelforge.ui.look.choices import DeleteButtons
from modelforge.ui.look.events import listen
from modelforge.ui.look.files import make_file

FILE = "votes.jsonl"


class VotesPanel:
    """Its components. `dataset` is the id of the dataset that was made last; `made` the event of that."""

    def __init__(self) -> None:
        self.dataset = gr.State("")
        with gr.Accordion("Votes", open=True):
            self.table = gr.HTML("", elem_id="votes-table")
            with gr.Row(elem_classes="mf-actions"):
                self.use = gr.Button("Train on the votes →", interactive=False, elem_id="votes-use")
                self.fetch = gr.Button("Download the pairs", interactive=False, elem_id="votes-fetch")
                self.file = gr.DownloadButton(FILE, visible="hidden", elem_id="votes-file")
                self.deletion = DeleteButtons("votes-delete", "Delete all votes…")
        self.shown = [self.table, self.use, self.fetch]

    def show(self, forge: Forge) -> dict[Any, Any]:
        """Values of `shown`."""
        count = len(forge.votes.preferences())
        label = f"Train on {count} preference pair{'' if count == 1 else 's'} →" if count else "Train on the votes →"
        return {
            self.table: show_tallies(forge.votes.tallies()),
            self.use: gr.Button(label, interactive=count > 0),
            self.fetch: gr.Button(interactive=count > 0),
        }

    def attach(self, forge: Forge) -> None:
        def write() -> Any:
            path = make_file(FILE)
            save_file(path, write_jsonl(find_pairs(forge)))
            return gr.DownloadButton(value=str(path))

        def make_dataset() -> str:
            path = make_file(FILE)
            save_file(path, write_jsonl(find_pairs(forge)))
            report = check(path, Task.TEXT_GENERATION, shape="preference")
            refuse_errors(report)
            return forge.datasets.add(report, name=f"Votes of {utc_now()[:10]}").id

        def delete() -> dict[Any, Any]:
            forge.votes.delete_all()
            return self.show(forge)

        self.made = listen(self.use.click, make_dataset, None, self.dataset, show_progress="minimal")
        written = listen(self.fetch.click, write, None, self.file)
        written.success(None, js="() => document.querySelector('#votes-file').click()")
        self.deletion.attach(delete, None, self.shown)


def find_pairs(forge: Forge) -> list[dict[str, Any]]:
    pairs = forge.votes.preferences()
    if not pairs:
        raise RecipeError("No vote preferred one answer yet.", fix="Vote for the left or the right answer first.")
    return pairs


def show_tallies(tallies: list[tuple[tuple[str, str], tuple[str, str], Tally]]) -> str:
    return html.table(
        (
            {
                "Models": f"{names[0]} / {names[1]}",
                "Preferred": f"{tally.first} / {tally.second}",
                "Tie": tally.ties,
                "Both bad": tally.both_bad,
                "Result": describe_pair(names, tally),
            }
            for _, names, tally in tallies
        ),
        empty="No vote yet. Votes are kept, and counted for each two models.",
    )


def describe_pair(names: tuple[str, str], tally: Tally) -> str:
    """Which one is preferred, and how sure that is."""
    if not tally.decided:
        return "Neither was preferred yet."
    name, count, low, high = names[0], tally.first, *tally.interval
    if tally.second > tally.first:
        name, count, low, high = names[1], tally.second, 1 - high, 1 - low
    share = f"{count} of {tally.decided} ({count / tally.decided:.0%}, 95% interval {low:.0%} to {high:.0%})"
    verdict = "is preferred" if tally.winner else "may only be ahead by chance: more votes are needed"
    return f"{name}: {share}; {verdict}."
