"""The monitor of a run, part of the Train tab: state, numbers, chart, answers step by step, log.

It only displays. Closing the page changes nothing, and any number of pages show the same.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import gradio as gr

from modelforge import paths
from modelforge.errors import NotFoundError
from modelforge.forge import Forge
from modelforge.hardware import describe_bytes
from modelforge.runs.event_text import describe_event
from modelforge.runs.feed import Feed
from modelforge.scores.metrics import TELLING
from modelforge.scores.titles import SHOWN
from modelforge.store import RunRecord, RunState
from modelforge.ui.look import html
from modelforge.ui.look.chart import draw
from modelforge.ui.look.events import listen
from modelforge.ui.look.files import make_file
from modelforge.ui.look.metrics import describe_outcome
from modelforge.ui.look.verdict import show_verdict
from modelforge.ui.train.timeline import Answers, Timeline, show_answers

SENTENCES = {
    RunState.queued: ("Starting.", "quiet"),
    RunState.preparing: ("Getting ready: loading the base model and encoding the examples.", "quiet"),
    RunState.running: ("Training. You can close this page; the run continues.", "good"),
    RunState.stopping: ("Saving.", "warning"),
    RunState.paused: ("Paused. Press Resume to continue exactly where it left off.", "warning"),
    RunState.stopped: ("Stopped early.", "warning"),
    RunState.interrupted: (
        "Interrupted: the app was closed or the machine went down during training. Press Resume to continue from the "
        "last checkpoint.",
        "warning",
    ),
}
WAITING = "Waiting: another run is in progress, and only one run trains at a time."
MOST_VIEWS, MOST_POINTS, MOST_LINES = 20, 1200, 400
CURVES = ("loss", "reward", "reward_margin")
"""The values in progress events that are drawn as curves."""


class Monitor:
    """The widgets that show one run."""

    def __init__(self) -> None:
        self.head = gr.HTML(elem_id="run-head")
        self.chart = gr.HTML(elem_id="run-chart")
        self.timeline = Timeline()
        with gr.Accordion("Log", open=False):
            self.log = gr.Textbox(
                label="Log", lines=12, max_lines=12, show_label=False, interactive=False, elem_id="run-log"
            )
            self.fetch_log = gr.Button("Download the log", size="sm", elem_id="run-log-fetch")
            # The file is made on demand; then the browser presses this one.
            self.log_file = gr.DownloadButton("log.txt", visible="hidden", elem_id="run-log-file")
        self.outputs = [self.head, self.chart, self.log, *self.timeline.outputs]


def attach_proof(forge: Forge, button: Any, file: Any, run_id: Any) -> None:
    def write(chosen: str) -> Any:
        path = make_file(f"{forge.runs.get(chosen).id}.yaml")
        path.write_text(forge.runs.write_proof(chosen), encoding="utf-8")
        return gr.DownloadButton(value=str(path))

    written = listen(button.click, write, run_id, file)
    written.success(None, js="() => document.querySelector('#train-proof-file').click()")


def attach_log(forge: Forge, monitor: Monitor, run_id: Any) -> None:
    def copy_log(chosen: str) -> Any:
        """A copy of the run's log: only what is in the folder of uploads is given to a browser."""
        run_id = forge.runs.get(chosen).id
        log = paths.run_dir(run_id) / "log.txt"
        if not log.exists():
            raise NotFoundError(
                "This run has no log yet.", where=run_id, fix="The log is created when training starts."
            )
        return gr.DownloadButton(value=str(shutil.copy(log, make_file(f"{run_id}.txt"))))

    copied = listen(monitor.fetch_log.click, copy_log, run_id, monitor.log_file)
    copied.success(None, js="() => document.querySelector('#run-log-file').click()")


class RunView:
    """The curves, the answers, the latest numbers and the log of one run, gathered from its events."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._lock = threading.Lock()
        self.is_waiting = False  # for another run, see `Runs.is_waiting`
        self.cursor = 0
        self.curves: dict[str, list[tuple[float, float]]] = {}  # name in progress events -> (step, value)
        self.held_out: dict[str, list[tuple[float, float]]] = {}  # metric -> (step, value)
        self.answers = Answers()
        self.latest: dict[str, dict[str, Any]] = {}
        self.warnings: list[str] = []
        self.lines: list[str] = []

    def refresh(self) -> None:
        """Add the new events."""
        with self._lock:
            events, self.cursor = self._feed.since(self.cursor)
            for event in events:
                self._take(event)

    def _take(self, event: dict[str, Any]) -> None:
        self.latest[event["type"]] = event
        if event["type"] in ("stored", "warning", "evaluated", "progress"):
            self.latest.pop("storing", None)
        match event["type"]:
            case "started":
                self._rewind(event.get("step", 0))
            case "progress":
                _add_points(self.curves, event, CURVES)
            case "evaluated":
                measured = {"loss": event.get("eval_loss"), **event}  # older runs wrote it under that name alone
                _add_points(self.held_out, measured, tuple(SHOWN))
            case "sampled":
                self.answers.add(event)
            case "warning":
                self.warnings.append(event["message"])
        if line := describe_event(event):
            self.lines = [*self.lines, f"{event['time'][11:19]}  {line}"][-MOST_LINES:]

    def _rewind(self, step: int) -> None:
        """A run resumes from its last checkpoint: the steps after that one are trained again."""
        for curves in (self.curves, self.held_out):
            for name, points in curves.items():
                curves[name] = [point for point in points if point[0] <= step]
        self.answers.rewind(step)
        self.warnings = []
        for name in ("measuring", "storing"):
            self.latest.pop(name, None)


def _add_points(curves: dict[str, list[tuple[float, float]]], event: dict[str, Any], names: Sequence[str]) -> None:
    for name in names:
        value = event.get(name)
        if isinstance(value, int | float):
            points = curves.setdefault(name, [])
            points.append((event["step"], value))
            if len(points) > MOST_POINTS:
                curves[name] = points[::2]


class Views:
    """A RunView for each of the runs shown most recently."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        self._view = lru_cache(maxsize=MOST_VIEWS)(lambda run_id: RunView(forge.runs.feed(run_id)))

    def refreshed(self, run_id: str) -> RunView:
        view = self._view(run_id)
        view.is_waiting = self._forge.runs.is_waiting(run_id)
        view.refresh()
        return view


def show_run(record: RunRecord, view: RunView, at: int | None = None) -> list[Any]:
    """Values of the monitor's widgets, in the order of `Monitor.outputs`. at: the step whose answers are shown."""
    latest = view.latest.get("progress", {})
    step, total = latest.get("step", record.step), latest.get("total_steps", record.total_steps)
    head = f'<div class="mf-run-name">{html.text(record.recipe.get("name") or record.id)}</div>'
    head += _state(record, view)
    is_active = record.state in (RunState.preparing, RunState.running)
    if is_active and (storing := view.latest.get("storing")):
        left = html.seconds(storing["seconds_left"])
        head += html.bar(storing["share"], f"computing the frozen layers once · {storing['share']:.0%} · {left} left")
    elif total:
        is_running = latest and record.state is RunState.running
        left = f"{html.seconds(latest['eta_seconds'])} left" if is_running else record.state.value
        if is_running and (measuring := view.latest.get("measuring")):
            rest = f" · {html.seconds(measuring['seconds_left'])} left" if measuring["seconds_left"] is not None else ""
            head += html.bar(measuring["share"], f"measuring whether it got better · {measuring['share']:.0%}{rest}")
        else:
            head += html.bar(step / total, f"step {step} of {total} · {step / total:.0%} · {left}")
    if latest:
        head += html.tiles(_numbers(record, view, latest))
    head += "".join(html.note(sentence, "warning") for sentence in view.warnings)
    answers = show_answers(view.answers, at, has_model=has_saved_model(record))
    return [head, _charts(record, view, total), "\n".join(view.lines), *answers]


def show_nothing() -> list[Any]:
    nothing = show_answers(Answers(), None, has_model=False)
    return [html.note("No runs yet. Press Start training: all settings have defaults."), "", "", *nothing]


def has_saved_model(record: RunRecord) -> bool:
    """Whether the newest answers are those of its model; a run that is stopped gives none at its end."""
    return bool(record.model_id) and record.state is not RunState.stopped


def _state(record: RunRecord, view: RunView) -> str:
    if record.state is RunState.finished:
        if verdict := record.metrics.get("verdict"):
            return html.aside("Finished.") + show_verdict(verdict)
        sentence, better = describe_outcome(record.metrics)
        return html.note(sentence, "good" if better else "warning")
    if record.state is RunState.failed and record.error:
        where = f"{record.error['where']}: " if record.error["where"] else ""
        remedy = f"<p>What to do: {html.text(record.error['fix'])}</p>" if record.error["fix"] else ""
        kept = "<p>The last good weights were saved as a model.</p>" if record.model_id else ""
        return f'<div class="mf-note mf-bad">Failed. {html.text(where + record.error["what"])}{remedy}{kept}</div>'
    sentence, kind = SENTENCES[record.state]
    if record.state is RunState.queued and view.is_waiting:
        sentence = WAITING
    if record.state is RunState.stopped:
        saved = "The model trained so far was saved, without a verdict: evaluate it on the Models tab."
        sentence += f" {saved if record.model_id else 'No step was trained, so no model was saved.'}"
    return html.note(sentence, kind)


def _numbers(record: RunRecord, view: RunView, latest: dict[str, Any]) -> list[tuple[str, str]]:
    """The tiles: progress, speed, and the latest value of each metric."""
    loss = "-" if latest["loss"] is None else f"{latest['loss']:.3f}"
    numbers = [
        ("Step", f"{latest['step']} / {latest['total_steps']}"),
        ("Time left", html.seconds(latest["eta_seconds"]) if record.state.active else "-"),
        ("Reward", f"{latest['reward']:.3f}") if "reward" in latest else ("Loss", loss),
    ]
    measured = {name: points[-1][1] for name, points in view.held_out.items() if points}
    shown = [name for name in TELLING if name in measured and name != "perplexity"]
    if "mean_reward" in measured:
        shown.remove("loss")  # it means nothing when training with a reward
    if "f1" in measured or "reward_margin" in measured:
        shown += [name for name in ("exact_match", "preference_accuracy") if name in measured]
    numbers += [(SHOWN[name].title, SHOWN[name].write(measured[name])) for name in shown]
    speed = [("Tokens/s", f"{latest['tokens_per_second']:.0f}")] if latest["tokens_per_second"] else []
    predicted = view.latest.get("started", {}).get("predicted_bytes")
    memory = [("Memory", describe_bytes(latest["memory_bytes"]))]
    if record.peak_bytes:
        memory = [("Peak memory", describe_bytes(record.peak_bytes))]
        memory += [("Predicted memory", describe_bytes(predicted))] if predicted else []
    return [*numbers, *speed, *memory]


def _charts(record: RunRecord, view: RunView, total: int) -> str:
    """The loss curve, or the reward curve when training with a reward; for preferences the margin as well."""
    curves, held_out = view.curves, view.held_out
    if not curves and not held_out:
        return ""
    if "reward" in curves or "mean_reward" in held_out:
        return draw(
            curves.get("reward", []),
            held_out.get("mean_reward", []),
            total,
            title="reward",
            step_title="reward of answers sampled in training",
            held_out_title="mean reward on held-out prompts",
        )
    charts = draw(curves.get("loss", []), held_out.get("loss", []), total)
    if "reward_margin" in curves:
        charts += draw(
            curves["reward_margin"],
            held_out.get("reward_margin", []),
            total,
            title="reward margin",
            step_title="margin between chosen and rejected answers",
            held_out_title="on held-out pairs",
        )
    return charts
