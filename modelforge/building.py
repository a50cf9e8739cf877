"""The lock under which models are built.

While transformers and PEFT build a model they put other functions in the place of torch's own initialisers, and another
default dtype, for the whole process. A model that another thread builds meanwhile would keep what was in its memory
before: numbers that are none, in a chat beside a run that begins.
"""

from __future__ import annotations

import threading

BUILDING = threading.RLock()
"""Held by whoever makes a model, reads its weights or puts an adapter onto it: `with BUILDING:`."""
