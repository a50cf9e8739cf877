"""ModelForge: fine-tune a language model on your own machine.

``import modelforge`` is fast: torch and gradio are imported only when they are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

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
