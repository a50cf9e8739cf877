"""What a Hugging Face Space can and cannot do, told on its page. Its variables are described at
https://huggingface.co/docs/hub/spaces-overview#helper-environment-variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from modelforge import hardware, paths

NO_SIGN_IN = (
    "Nobody can sign in to this Space yet. Its owner sets hf_oauth: true at the top of its README.md, or the secret "
    "MODELFORGE_AUTH to name:password."
)


def describe_limits(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Sentences about storage and hardware."""
    sentences = []
    if not paths.home().is_relative_to(paths.SPACE_STORAGE):
        sentences.append(
            "This Space has no persistent storage: datasets, runs and models are lost when it restarts. Push what you "
            "want to keep to the Hub, or add storage in the Space's settings."
        )
    elif not os.access(_existing(paths.home()), os.W_OK):
        sentences.append(f"The storage of this Space, {paths.home()}, cannot be written.")
    found = hardware.detect()
    if environment.get("SPACES_ZERO_GPU") == "true":
        sentences.append(
            "ZeroGPU lends its GPU for a minute or two at a time, which is too short for a run: this Space trains on "
            "its processor. For a GPU, choose one in the Space's settings, or use a machine of your own."
        )
    elif found.device.kind == "cpu":
        size = hardware.describe_bytes(found.device.memory_bytes)
        sentences.append(
            f"This Space trains on a processor with {size} of memory: small models, in minutes to hours. A free Space "
            "sleeps after two days without visitors; a run is then interrupted and can be resumed."
        )
    return sentences


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.exists())
