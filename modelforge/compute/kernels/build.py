"""Makes a library of `kernels.cpp` where g++ is there, once for each machine and number format, and loads it.

Only on Linux: elsewhere a compiler is rare, and Apple's has no OpenMP. A library is kept in the cache only after a
process of its own has computed with it and found what torch finds: one that crashes takes no run with it.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from modelforge import hardware, paths
from modelforge.compute.decide import choose_dtype
from modelforge.errors import DiskFullError, StoreError
from modelforge.processes import python_command
from modelforge.recipe import Recipe
from modelforge.store.files import place_file
from modelforge.store.folders import unfinished

if TYPE_CHECKING:  # or torch would be loaded to ask for a name
    from modelforge.compute.kernels.compiled import CompiledKernels

log = logging.getLogger("modelforge")

SOURCE = Path(__file__).with_name("kernels.cpp")
FLAGS = ("-O3", "-march=native", "-std=c++17", "-fopenmp", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math")
DEFINED = {"float32": "-DNUMBER_FLOAT32", "bfloat16": "-DNUMBER_BFLOAT16"}
"""What tells the source which number format it is for."""
MOST_SECONDS = 120  # each for building and for trying out; a slow laptop takes five


def load_kernels(dtype: str) -> CompiledKernels | None:
    """The kernels for a number format, built if they are not yet; None where that is not possible: torch's own
    operations take their place."""
    if dtype not in DEFINED or platform.system() != "Linux":
        return None
    try:
        build = f"kernels-{dtype}-{_name_build()}"
        library = _find(build) or _build(build, dtype)
        return _load(library, dtype) if library else None
    except (OSError, subprocess.SubprocessError, StoreError, DiskFullError) as error:
        said = (getattr(error, "stderr", None) or b"").decode(errors="replace")[-2000:]
        log.warning("Torch computes what kernels could: they could not be built. %s", said or error)
        return None


def build_ahead() -> None:
    """Build those that a run with the usual settings computes with, so that the first one does not wait for them."""
    probe = hardware.probe()
    if probe.kind == "cpu":
        load_kernels(choose_dtype(Recipe(), probe)[0])


def _load(library: Path, dtype: str) -> CompiledKernels:
    import torch

    from modelforge.compute.kernels.compiled import CompiledKernels

    return CompiledKernels(library, getattr(torch, dtype), library.stem.rpartition("-")[2])


def _find(build: str) -> Path | None:
    """The library of that name and the contents that it had when it was built."""
    for library in sorted(paths.cache_dir().glob(f"{build}-*.so")):
        if library.stem == f"{build}-{_name_contents(library)}":
            return library
        log.warning("The kernels in %s are damaged, and are built again.", library)
        library.unlink(missing_ok=True)  # another process may have been first
    return None


def _build(build: str, dtype: str) -> Path | None:
    """None without a compiler. Raises OSError, SubprocessError, StoreError or DiskFullError."""
    compiler = shutil.which("g++")
    if compiler is None:
        log.info("No g++ here: torch computes what kernels could.")
        return None
    with unfinished(paths.cache_dir()) as folder:
        partial = folder / "kernels.so"
        # torch has loaded an OpenMP of its own: a second one would bring as many threads again
        inputs = (str(SOURCE), "-Wl,--as-needed", *_find_openmp())
        compile_it = [compiler, *FLAGS, DEFINED[dtype], *inputs, "-o", str(partial)]
        try_it = python_command("modelforge.compute.kernels.try_out", str(partial), dtype)
        for command in (compile_it, try_it):
            subprocess.run(command, check=True, capture_output=True, timeout=MOST_SECONDS, cwd=folder)
        library = paths.cache_dir() / f"{build}-{_name_contents(partial)}.so"
        place_file(partial, library)
    return library


def _name_contents(library: Path) -> str:
    with library.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:16]


def _find_openmp() -> list[str]:
    """The library of OpenMP that comes with torch, if one does."""
    import torch

    return sorted(map(str, (Path(torch.__file__).parent / "lib").glob("libgomp*.so*")))[:1]


def _name_build() -> str:
    """What a library depends on, as a short name: this processor, the source, and the torch whose OpenMP it shares."""
    processor = [platform.machine()]
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"model name", "flags", "Features", "CPU part"}:
            processor.append(value)
        elif not line:  # the first core's are all there is to know
            break
    parts = (SOURCE.read_text(encoding="utf-8"), *FLAGS, *processor, version("torch"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
