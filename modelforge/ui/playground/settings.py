"""How answers are drawn, beside the Playground: a preset, the settings themselves, the system prompt."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from modelforge.models.sampling import PRESETS, Sampling
from modelforge.ui.look.events import listen_in_chat

HELP = {name: field.description for name, field in Sampling.model_fields.items()}
SLIDERS: dict[str, tuple[float, float, float]] = {
    "max_new_tokens": (1, 1024, 1),
    "temperature": (0, 2, 0.05),
    "top_p": (0.05, 1, 0.05),
    "min_p": (0, 1, 0.01),
    "top_k": (0, 200, 1),
    "repetition_penalty": (0.8, 2, 0.05),
}
"""Setting -> its lowest and highest value, and the step between values."""
FOLDED = ("top_p", "min_p", "top_k", "repetition_penalty")
EXACT = "exact"


class SettingsPanel:
    """Its components. `drawn` are the settings of an answer."""

    def __init__(self) -> None:
        self.preset = gr.Radio(
            [(name.capitalize(), name) for name in PRESETS],
            value=EXACT,
            label="Answers",
            info="Exact is always the likeliest answer.",
            elem_id="chat-preset",
        )
        self.system = gr.Textbox(
            label="System prompt",
            info="Instructions for the whole conversation.",
            lines=3,
            max_length=20_000,
            elem_id="chat-system",
        )
        made = {name: _build_slider(name) for name in SLIDERS if name not in FOLDED}
        with gr.Accordion("More settings", open=False):
            made |= {name: _build_slider(name) for name in FOLDED}
            # A number field would send 0 when it is empty.
            engine = gr.Radio(
                [("Fastest", "auto"), ("transformers", "transformers")],
                value="auto",
                label="engine",
                info=HELP["engine"],
                elem_id="chat-engine",
            )
            seed = gr.Textbox(label="seed", info=f"{HELP['seed']} Empty: a new seed each time.", max_length=10)
        self.sliders = {name: made[name] for name in SLIDERS}
        self.drawn = [*self.sliders.values(), engine, seed]

    def attach(self) -> None:
        set_by_preset = [self.sliders[name] for name in PRESETS[EXACT]]
        listen_in_chat(self.preset.input, lambda name: [*PRESETS[name].values()], self.preset, set_by_preset)
        moved = partial(gr.on, [slider.release for slider in set_by_preset])
        listen_in_chat(moved, find_preset, set_by_preset, self.preset)


def _build_slider(name: str) -> Any:
    low, high, step = SLIDERS[name]
    value = getattr(Sampling(), name)
    return gr.Slider(low, high, value, step=step, label=name, info=HELP[name], elem_id=f"chat-{name}")


def find_preset(*values: float) -> str | None:
    """The name of the preset with these values; None where there is none."""
    return next((name for name, preset in PRESETS.items() if tuple(preset.values()) == values), None)


def read_sampling(*drawn: Any) -> Sampling:
    """The values of `SettingsPanel.drawn`; a field that was never shown has None. Raises RecipeError."""
    *values, engine, seed = drawn
    named = {**dict(zip(SLIDERS, values, strict=True)), "engine": engine or "auto"}
    return Sampling.build(**named, seed=(seed or "").strip() or None)
