"""The switch between a tuned model and its base where both are the same weights."""

from __future__ import annotations

import weakref
from typing import Any


class AdapterSwitch:
    """Which side the shared weights of each model compute: its adapter is switched off or on only when an answer of the
    other side is wanted, not for each token. To be used by one thread at a time."""

    def __init__(self) -> None:
        self._off: weakref.WeakSet[Any] = weakref.WeakSet()

    def choose(self, model: Any, *, base: bool) -> None:
        """Let a model compute as its base, or as tuned. One without an adapter is only one of them."""
        if not hasattr(model, "peft_config") or base == (model in self._off):
            return
        if base:
            model.base_model.disable_adapter_layers()
            self._off.add(model)
        else:
            model.base_model.enable_adapter_layers()
            self._off.discard(model)
