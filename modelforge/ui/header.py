"""The header above every tab: name, device and free memory, and the run in progress."""

from __future__ import annotations

import gradio as gr

from modelforge import hardware
from modelforge.caller import current_caller
from modelforge.forge import Forge
from modelforge.store import RunState
from modelforge.ui.access import Access
from modelforge.ui.look import html
from modelforge.ui.look.events import listen

ASKS_EVERY = 5.0  # seconds, see `train/tab.py`
IDLE = "No run in progress"


class Header:
    """Its components. `run` opens the run."""

    def __init__(self, forge: Forge, access: Access) -> None:
        with gr.Row(elem_classes="mf-header", equal_height=True):
            gr.HTML('<div class="mf-brand"><b>ModelForge</b></div>', min_width=150)
            self.machine = gr.HTML(elem_id="header-machine", min_width=200)
            self.person = gr.HTML(elem_id="header-person", min_width=100)
            self.run = gr.Button(IDLE, size="sm", elem_id="header-run", scale=0, min_width=200)
            if access.with_hub:
                gr.LoginButton(logout_value="Sign out ({})", size="sm", min_width=160, elem_id="header-sign-in")
        timer = gr.Timer(ASKS_EVERY)
        listen(timer.tick, lambda: show(forge), None, [self.machine, self.run], trigger_mode="once")


def show(forge: Forge) -> list[object]:
    """[machine, run] as they are now."""
    found = hardware.detect()
    free, whole = hardware.describe_bytes(found.device.free_bytes), hardware.describe_bytes(found.device.memory_bytes)
    machine = f'<div class="mf-machine">{html.text(found.device.name)}<span>{free} free of {whole}</span></div>'
    return [machine, gr.Button(_describe_run(forge))]


def _describe_run(forge: Forge) -> str:
    record = forge.runs.current()
    if record is None:
        left = len(forge.runs.resumable())
        return f"{left} run{'s' if left > 1 else ''} to resume" if left else IDLE
    if record.state is not RunState.running:
        return f"Run: {record.state.value}"
    step, total = forge.runs.progress(record)
    return f"Training {step / total:.0%}" if total else "Training"


def describe_person(access: Access) -> str:
    """Who is signed in, and in which of the three modes the app is open."""
    if access.mode == "local":
        return '<div class="mf-person">local: only you</div>'
    person = current_caller()
    what = "owner" if person.is_owner else "chat only" if not person.may_train else "your own work"
    leave = "" if access.with_hub else ' <a href="logout">Sign out</a>'
    return f'<div class="mf-person">{access.mode}: {html.text(person.name)} ({what}){leave}</div>'
