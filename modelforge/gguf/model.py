"""A model's folder as one GGUF file, in one of the number formats of llama.cpp.

F16, BF16 and Q8_0 are written by the converter itself; the 4- and 5-bit formats from its F16 by the package `gguf`; the
K-quants by llama.cpp's `llama-quantize`, where that is on the PATH.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from modelforge.base_model.contents import read_folder
from modelforge.errors import ExportError, RecipeError, check_space
from modelforge.gguf.converter import SCRIPT, check_architecture, clean_view, ensure_converter, run_converter
from modelforge.gguf.requantize import requantize
from modelforge.store.files import place_file
from modelforge.store.leftovers import begin_file

CONVERTED, REWRITTEN, LLAMA_QUANTIZE = "converter", "gguf", "llama-quantize"
_SPARE_BYTES = 20_000_000  # the tokenizer


@dataclass(frozen=True)
class Quantization:
    """bits: of a weight, with its share of the scales. by: who writes it."""

    bits: float
    by: str
    sentence: str


QUANTIZATIONS: dict[str, Quantization] = {
    "f16": Quantization(16, CONVERTED, "16-bit: as good as the model, half of its size."),
    "bf16": Quantization(16, CONVERTED, "16-bit with a wider range: for models that were trained in bfloat16."),
    "q8_0": Quantization(8.5, CONVERTED, "8-bit: hardly any difference, a quarter of the size."),
    "q5_1": Quantization(6, REWRITTEN, "5-bit."),
    "q5_0": Quantization(5.5, REWRITTEN, "5-bit, a little smaller."),
    "q4_1": Quantization(5, REWRITTEN, "4-bit: small models lose noticeably."),
    "q4_0": Quantization(4.5, REWRITTEN, "4-bit, the smallest: small models lose noticeably."),
    "q6_k": Quantization(6.6, LLAMA_QUANTIZE, "6-bit K-quant."),
    "q5_k_m": Quantization(5.7, LLAMA_QUANTIZE, "5-bit K-quant."),
    "q4_k_m": Quantization(4.9, LLAMA_QUANTIZE, "4-bit K-quant: what most people download."),
}


def check_quantization(name: str) -> Quantization:
    """Raises RecipeError for an unknown one, ExportError for one that cannot be written here."""
    found = QUANTIZATIONS.get(name.lower())
    if found is None:
        raise RecipeError(f"There is no quantization {name!r}.", fix=f"Choose one of {', '.join(QUANTIZATIONS)}.")
    if found.by == LLAMA_QUANTIZE and shutil.which(LLAMA_QUANTIZE) is None:
        raise ExportError(
            f"{name.upper()} is written by llama.cpp's program {LLAMA_QUANTIZE}, which is not on the PATH.",
            fix="Install llama.cpp, or choose Q8_0 or Q5_1.",
        )
    return found


def estimate_bytes(folder: Path, quantization: str) -> int:
    """How large the file of that model will be, about."""
    return int(read_folder(folder, folder.name).parameters * QUANTIZATIONS[quantization.lower()].bits / 8)


def to_gguf(
    folder: Path,
    out_file: Path,
    quantization: str = "f16",
    *,
    name: str = "",
    watch: Callable[[float], None] = lambda share: None,
) -> Path:
    """Write the model of a folder (safetensors, tokenizer, chat template) as one GGUF file, which appears complete or
    not at all. Returns out_file.

    quantization: a key of `QUANTIZATIONS`. name: inside the file, shown by other programs. watch: called several times
    a second with the share that is done; what it raises cancels. Raises ExportError, RecipeError, BaseModelError,
    DiskFullError, DownloadError.
    """
    quantization = quantization.lower()
    chosen = check_quantization(quantization)
    converter = ensure_converter(lambda: watch(0.0))
    check_architecture(folder, converter)
    is_direct = chosen.by == CONVERTED
    needed = estimate_bytes(folder, quantization) + (0 if is_direct else estimate_bytes(folder, "f16"))
    out_file.parent.mkdir(parents=True, exist_ok=True)
    check_space(out_file.parent, needed + _SPARE_BYTES)
    with _partial(out_file.parent) as written, clean_view(folder) as view:
        outtype = quantization if is_direct else "f16"
        expected, part = estimate_bytes(folder, outtype), 1.0 if is_direct else 0.5
        arguments = (str(view), "--outfile", str(written), "--outtype", outtype, "--model-name", name or folder.name)
        run_converter(
            converter,
            SCRIPT,
            *arguments,
            meanwhile=lambda: watch(part * min(written.stat().st_size / max(expected, 1), 1.0)),
            what="This model",
        )
        if is_direct:
            place_file(written, out_file)
        else:
            with _partial(out_file.parent) as smaller:
                write = requantize if chosen.by == REWRITTEN else _run_llama_quantize
                write(written, smaller, quantization, lambda share: watch(0.5 + share / 2))
                place_file(smaller, out_file)
    return out_file


@contextlib.contextmanager
def _partial(place: Path) -> Iterator[Path]:
    """A file to write in that folder, which is removed unless it was placed."""
    partial = begin_file(place)
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _run_llama_quantize(source: Path, target: Path, quantization: str, watch: Callable[[float], None]) -> None:
    command = [shutil.which(LLAMA_QUANTIZE) or LLAMA_QUANTIZE, str(source), str(target), quantization.upper()]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as it:
        try:
            while it.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    it.wait(0.1)
                watch(min(target.stat().st_size / max(source.stat().st_size, 1), 1.0))
        finally:
            it.kill()
    if it.returncode:
        raise ExportError(f"{LLAMA_QUANTIZE} failed with exit code {it.returncode}.", fix="Choose Q8_0 or Q5_1.")
