"""GGUF, the format of llama.cpp: models and adapters are written in it here, by GGML's own converter."""

from modelforge.gguf.adapter import adapter_to_gguf, find_adapter_problem
from modelforge.gguf.converter import check_architecture, ensure_converter
from modelforge.gguf.model import QUANTIZATIONS, Quantization, check_quantization, estimate_bytes, to_gguf

__all__ = [
    "QUANTIZATIONS",
    "Quantization",
    "adapter_to_gguf",
    "check_architecture",
    "check_quantization",
    "ensure_converter",
    "estimate_bytes",
    "find_adapter_problem",
    "to_gguf",
]
