"""The files by which Ollama reads template, system prompt and parameters of GGUF files on the Hub: `template`, `system`
and `params`, made of the Modelfile of an export. Without them it translates the template in the GGUF file itself.

Format: https://huggingface.co/docs/hub/ollama; of the Modelfile: https://docs.ollama.com/modelfile.
"""

from __future__ import annotations

import json
import re
from typing import Any

_TEXT = re.compile(r'^(TEMPLATE|SYSTEM) """(.*?)"""$', re.DOTALL | re.MULTILINE)
_PARAMETER = re.compile(r"^PARAMETER (\w+) (.+)$", re.MULTILINE)


def make_ollama_files(modelfile: str) -> dict[str, bytes]:
    """Name -> content, for what the Modelfile has. Values stand in it as JSON writes them, quoted or as numbers."""
    files = {name.lower(): text.encode() for name, text in _TEXT.findall(modelfile)}
    params: dict[str, Any] = {}
    for name, written in _PARAMETER.findall(_TEXT.sub("", modelfile)):
        value = _read(written)
        params[name] = [*params.get(name, []), value] if name == "stop" else value
    return {**files, **({"params": json.dumps(params, indent=2).encode()} if params else {})}


def _read(written: str) -> Any:
    try:
        return json.loads(written)
    except ValueError:
        return written
