"""Run as a module, this file is llama.cpp in a process of its own: MODEL CONTEXT THREADS, and a key on stdin.

A damaged file makes llama.cpp end its process, which must not be the app's. It prints the address of its server and
ends when stdin is closed.
"""

from __future__ import annotations

import sys


def serve(model: str, context: int, threads: int, key: str) -> None:
    """Answer on loopback until stdin is closed. key: what a request must have as its bearer token."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = model
    settings.n_ctx, settings.n_parallel, settings.warmup = context, 1, False
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    settings.hostnames, settings.port, settings.api_keys = ["127.0.0.1"], 0, [key]
    settings.ui, settings.ctx_shift = False, False
    server = xllamacpp.Server(settings)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.stdin.readline().strip())
