"""ModelForge: fine-tune a language model on your own machine.

``import modelforge`` is fast: torch and gradio are imported only when they are needed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# OpenMP reads these when torch is loaded. Its threads that wait for work spin for some milliseconds (libgomp) or a
# fifth of a second (libomp) on the processor that a browser or another training needs: two trainings at once, on two
# cores, came to a twentieth of one each; with these they come to half of one, and alone to no less than before.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # rounds; Linux
    os.environ.setdefault("KMP_BLOCKTIME", "1")  # milliseconds; macOS and Windows

if TYPE_CHECKING:
    from modelforge.forge import Forge
    from modelforge.recipe import Recipe

__all__ = ["Forge", "Recipe", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Forge":
        from modelforge.forge import Forge

        return Forge
    if name == "Recipe":
        from modelforge.recipe import Recipe

        return Recipe
    raise AttributeError(f"module 'modelforge' has no attribute {name!r}")
