"""How the threads of torch share the processor with whatever else runs on the machine."""

from __future__ import annotations

import os


def share_processor() -> None:
    """Let threads that wait for work sleep rather than spin. Has an effect before torch is loaded, which reads it.

    OpenMP's threads spin for some milliseconds (libgomp) or a fifth of a second (libomp), on the processor that a
    browser or another training needs: two trainings at once, on two cores, came to a twentieth of one each, and come
    to half of one with this. Alone on a virtual machine, training is a sixth slower: so the app, which has a page
    beside it, calls this, and a run from the command line or from Python does not. Who has set one of them keeps it.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # rounds; Linux
        os.environ.setdefault("KMP_BLOCKTIME", "1")  # milliseconds; macOS and Windows
