"""ModelForge: fine-tune a language model on the machine you have.

``import modelforge`` is cheap: torch and gradio are imported when something needs them, not before.
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
