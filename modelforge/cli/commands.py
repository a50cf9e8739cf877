"""Every command in the order of use: the module that has it, and what it does. No module is loaded for this: most of
them load libraries, and the help lists them all."""

from __future__ import annotations

from collections.abc import Mapping

MODULES: Mapping[str, Mapping[str, str]] = {
    "machine": {
        "ui": "open the app in the browser",
        "hardware": "show this machine and what it can train",
        "starter": "download the models that work without the Hub",
    },
    "data": {"data": "check a dataset"},
    "baseline": {"baseline": "try the base model on the held-out rows, to see whether training is needed"},
    "runs": {
        "plan": "show what a recipe needs on this machine and whether it fits",
        "train": "train a recipe",
        "sweep": "train a recipe with several values of one or two settings",
        "demo": "train the starter model on a bundled dataset, compare its answers",
        "compare": "show two to eight runs side by side",
        "runs": "runs, past and present",
    },
    "models": {
        "models": "finished models",
        "generate": "generate an answer with a model",
        "evaluate": "measure whether a model got better, on the held-out rows",
        "push": "push a model to the Hugging Face Hub (token from HF_TOKEN or the hub login)",
        "import-legacy": "import the models of an older ModelForge",
    },
    "exports": {"export": "write a model for other programs, and check that it answers the same there"},
    "serve": {"serve": "answer other programs through OpenAI's API"},
    "batch": {"batch": "answer every row of a file"},
}
"""Module -> its commands -> what each does."""
HELP = {name: sentence for commands in MODULES.values() for name, sentence in commands.items()}
