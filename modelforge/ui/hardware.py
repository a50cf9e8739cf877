"""Hardware tab: what this machine is and what it can train."""

from __future__ import annotations

import gradio as gr

from modelforge import catalog, hardware, paths
from modelforge.forge import Forge
from modelforge.recipe import Task
from modelforge.tasks import TASKS
from modelforge.ui import html, warmup
from modelforge.ui.events import listen


class HardwareTab:
    """Its components that other files need."""

    def __init__(self) -> None:
        gr.HTML(html.title("Hardware", "What this machine is, and what it can train."))
        self.facts = gr.HTML(html.note("Looking at the machine..."))
        self.speeds = gr.HTML(html.note("The number formats are timed once, a moment after the app has opened."))
        with gr.Row(elem_classes="mf-actions"):
            self.again = gr.Button("Look again", variant="secondary", scale=0, min_width=140)
            self.next = gr.Button("Next: choose a dataset →", variant="primary", scale=0, min_width=260)


def build(forge: Forge) -> HardwareTab:
    tab = HardwareTab()
    listen(tab.again.click, lambda: (describe_machine(), describe_speeds()), None, [tab.facts, tab.speeds])
    return tab


def describe_machine() -> str:
    """The machine in one sentence, then in numbers, then what to start from."""
    found = hardware.detect()
    size = hardware.describe_bytes
    numbers = html.tiles(
        [
            ("Trains on", found.device.name),
            ("Tier", found.tier),
            ("Memory", f"{size(found.device.free_bytes)} free of {size(found.device.memory_bytes)}"),
            ("Disk", f"{size(found.free_disk_bytes)} free of {size(found.disk_bytes)}"),
            ("Cores", found.cores),
            ("System", found.system),
        ]
    )
    devices = html.table(
        ("Device", "Kind", "Memory", "Free", "Capability", "Driver"),
        (
            (
                device.name,
                device.kind,
                size(device.memory_bytes),
                size(device.free_bytes),
                ".".join(map(str, device.capability)) if device.kind == "cuda" else "-",
                device.driver or "-",
            )
            for device in found.devices
        ),
        empty="No device was found.",
    )
    known = {entry.id: entry for entry in catalog.entries()}
    starts = [
        (TASKS[task].title, name, hardware.describe_parameters(known[name].parameters), known[name].sentence)
        for task in Task
        for name in catalog.recommended(found, task)[:3]
    ]
    models = html.table(
        ("Task", "Good to start from", "Size", "What it is"), starts, empty="No base model of the list fits."
    )
    home = html.note(f"Everything is kept in {paths.home()}.")
    return (
        html.note(found.sentence, "good") + numbers + "<h3>Devices</h3>" + devices + "<h3>Models</h3>" + models + home
    )


def describe_speeds() -> str:
    """How fast each number format is here; measured at the first call on a machine (a second or two)."""
    warmup.wait()
    found = hardware.probe()
    rates = html.table(
        ("Number format", "Matrix products", "Used for training"),
        (
            (name, f"{rate:,.0f} GFLOP/s", "yes" if name == _used(found) else "no")
            for name, rate in found.gigaflops.items()
        ),
        empty="Nothing was measured.",
    )
    return f"<h3>Number formats, timed on {html.text(found.name)}</h3>{rates}"


def _used(found: hardware.Probe) -> str:
    from modelforge.recipe import Recipe
    from modelforge.training.device import choose_dtype

    return choose_dtype(Recipe(), found)[0]
