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
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from modelforge import paths
from modelforge.processes import python_command
from modelforge.store.files import place_file

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
    library = paths.cache_dir() / f"kernels-{dtype}-{_name_build()}.so"
    if not library.exists():
        compiler = shutil.which("g++")
        if compiler is None:
            log.info("No g++ here: what is computed element by element is computed by torch.")
            return None
        try:
            _build(compiler, dtype, library)
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or b"").decode(errors="replace")[-2000:]
            log.warning("Torch computes what kernels could: %s could not build them: %s", compiler, said or error)
            return None
    return _load(library, dtype)


def _load(library: Path, dtype: str) -> CompiledKernels | None:
    import torch

    from modelforge.compute.kernels.compiled import CompiledKernels

    try:
        with library.open("rb") as opened:
            name = hashlib.file_digest(opened, "sha256").hexdigest()[:16]
        return CompiledKernels(library, getattr(torch, dtype), name)
    except (OSError, AttributeError) as error:  # damaged, or not this version's
        log.warning("The kernels in %s could not be loaded, and are built again at the next run: %s", library, error)
        library.unlink(missing_ok=True)
        return None


def _build(compiler: str, dtype: str, library: Path) -> None:
    """Raises OSError or SubprocessError."""
    paths.make_folder(library.parent)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        partial = Path(folder) / library.name
        # torch has loaded an OpenMP of its own: a second one would bring as many threads again
        build = [compiler, *FLAGS, DEFINED[dtype], str(SOURCE), "-Wl,--as-needed", *_find_openmp(), "-o", str(partial)]
        try_out = python_command("modelforge.compute.kernels.try_out", str(partial), dtype)
        for command in (build, try_out):
            subprocess.run(command, check=True, capture_output=True, timeout=MOST_SECONDS, cwd=folder)
        place_file(partial, library)


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
