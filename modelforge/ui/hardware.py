"""Hardware tab: this machine and what it can train."""

from __future__ import annotations

import gradio as gr

from modelforge import catalog, hardware, paths, warmup
from modelforge.architecture import ARCHITECTURES, add_article
from modelforge.choices.combinations import architectures_of
from modelforge.choices.methods import METHODS
from modelforge.choices.tunings import TUNINGS, tunings_of
from modelforge.recipe import Recipe, Task
from modelforge.tasks import SHAPES, TASKS
from modelforge.ui.look import html
from modelforge.ui.look.events import listen


class HardwareTab:
    """Its components that other files need."""

    def __init__(self) -> None:
        gr.HTML(html.title("Hardware", "This machine, and what it can train."))
        self.facts = gr.HTML(html.note("Detecting the hardware …"))
        self.speeds = gr.HTML(html.note("The number formats are timed once, shortly after the app has opened."))
        with gr.Row(elem_classes="mf-actions"):
            again = gr.Button("Detect again", scale=0, min_width=140)
            self.next = gr.Button("Next: choose a dataset →", variant="primary", scale=0, min_width=260)
        listen(again.click, lambda: (describe_machine(), describe_speeds()), None, [self.facts, self.speeds])


def describe_machine() -> str:
    """The machine in a sentence and in numbers, and base models to start from."""
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
        (
            {
                "Device": device.name,
                "Kind": device.kind,
                "Memory": size(device.memory_bytes),
                "Free": size(device.free_bytes),
                "Capability": ".".join(map(str, device.capability)) if device.kind == "cuda" else "-",
                "Driver": device.driver or "-",
            }
            for device in found.devices
        ),
        empty="No device was found.",
    )
    return (
        html.note(found.sentence, "good")
        + numbers
        + f"<h3>What can be trained here</h3>{_describe_ways()}"
        + f"<h3>Largest base model for each tuning</h3>{_describe_tunings(found)}"
        + f"<h3>Recommended base models</h3>{_describe_starts(found)}"
        + f"<h3>Devices</h3>{devices}"
        + html.note(f"Everything is stored in {paths.home()}.")
    )


def _describe_ways() -> str:
    """Each shape of examples with its methods and the architectures that they train."""
    return html.table(
        {
            "Task": TASKS[shape.task].title,
            "Your examples": shape.title,
            "Method": f"{METHODS[method].title}: {METHODS[method].sentence}",
            "Base model": " or ".join(
                f"{add_article(name)}, which {ARCHITECTURES[name].sentence}"
                for name in architectures_of(shape.task, method)
            ),
        }
        for shape in SHAPES.values()
        for method in shape.methods
    )


def _describe_tunings(found: hardware.Hardware) -> str:
    """Each tuning with the largest base model for it, or why it is not possible on this machine."""
    rows = []
    for name, spec in TUNINGS.items():
        able = name in tunings_of(found.device.kind)
        size = hardware.describe_parameters(catalog.largest_parameters(found, name))
        here = f"up to about {size} parameters" if able else f"not on this machine: {spec.reason}"
        rows.append({"Tuning": spec.title, "Here": here, "What it does": spec.sentence})
    return html.table(rows)


def _describe_starts(found: hardware.Hardware) -> str:
    known = {entry.id: entry for entry in catalog.entries()}
    rows = (
        {
            "Task": TASKS[task].title,
            "Base model": name,
            "Size": hardware.describe_parameters(known[name].parameters),
            "What it is": known[name].sentence,
        }
        for task in Task
        for name in catalog.recommended(found, task)[:3]
    )
    return html.table(rows, empty="No base model of the catalogue fits.")


def describe_speeds() -> str:
    """The speed of each number format, measured at the first call on a machine (a second or two)."""
    warmup.wait()
    from modelforge.compute.decide import choose_dtype

    found = hardware.probe()
    used, reason = choose_dtype(Recipe(), found)
    measured = (
        {
            "Number format": name,
            "Matrix products": f"{rate:,.0f} GFLOP/s",
            "Used for training": "yes" if name == used else "no",
        }
        for name, rate in found.gigaflops.items()
    )
    rates = html.table(measured, empty="No number format was measured.")
    why = html.aside(f"Training computes in {reason}.")
    return f"<h3>Number formats, timed on {html.text(found.name)}</h3>{rates}{why}"
