"""The lock under which models are built.

While transformers and PEFT build a model, they replace torch's initialisers and default dtype for the whole process. A
model built in another thread at that time would not be initialised: a chat beside a starting run would get NaNs.
"""

from __future__ import annotations

import threading

BUILDING = threading.RLock()
"""Held while a model is created, its weights are loaded or an adapter is added: `with BUILDING:`."""
