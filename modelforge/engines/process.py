"""llama.cpp's own server in a process of its own, which ends with the one that started it.

Its own process because llama.cpp takes over Ctrl-C, and because its memory is free for certain when it ends. It reads
its settings from the first line of standard input, says where it listens, and ends when standard input does.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

READY = "modelforge: listening at "


def main() -> None:
    import xllamacpp

    settings: dict[str, Any] = json.loads(sys.stdin.readline())
    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.api_keys = [settings["key"]]  # others on this machine could ask too
    params.endpoint_slots = params.endpoint_props = params.endpoint_metrics = params.ui = False
    params.n_ctx, params.n_parallel, params.kv_unified = settings["context"], settings["parallel"], True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    params.use_jinja = settings["with_template"]  # else prompts come as tokens
    # What was read is kept by its tokens alone, whatever adapter it was read with: tuned would use what base has read.
    params.cache_ram_mib, params.cache_idle_slots = 0, False
    params.warmup = True
    params.verbosity = 1
    if settings["adapter"]:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(settings["adapter"], 1.0)]
        params.lora_init_without_apply = True  # each request says how strong
    server = xllamacpp.Server(params)
    print(READY + server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)  # what is being written is for nobody any more


if __name__ == "__main__":
    main()
