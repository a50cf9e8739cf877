"""From the name of a base model to its files on this machine, and whether they suit a task.

A name is resolved in this order: a folder, a starter, the local Hub cache, the Hub. Only safetensors are loaded; code
that comes with a model is never run. `look` and `check` never download weights; `resolve` does, after the same checks.
"""

from __future__ import annotations

from modelforge.base_model.find import BaseModel, architecture_of, canonical, resolve
from modelforge.base_model.verdict import Look, check, look

__all__ = [
    "BaseModel",
    "Look",
    "architecture_of",
    "canonical",
    "check",
    "look",
    "resolve",
]
