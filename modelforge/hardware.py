"""What this machine has: devices, memory, disk, and which number formats are really fast here.

`detect` is quick and loads neither torch nor a driver beyond NVML; call it again for fresh values. `probe` loads torch
and times a matrix product, once per machine; the result is cached. `compute/decide.py` decides what to do with it.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import psutil

from modelforge import paths
from modelforge.store.cache import read_cache, write_cache

DeviceKind = Literal["cuda", "mps", "cpu"]
Tier = Literal["low", "mid", "high"]

GIB = 1024**3
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_GroupFiles = tuple[tuple[str, ...], str, str]  # limits, usage, and the entry of memory.stat for cached files
_GROUP_FILES: _GroupFiles = (("memory.max", "memory.high"), "memory.current", "inactive_file")
_GROUP_FILES_1: _GroupFiles = (("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")
_UNLIMITED_BYTES = 2**60  # control groups without a limit give a number about as large as 64 bits hold


@dataclass(frozen=True)
class Device:
    """One processor or accelerator. Memory in bytes; capability is CUDA's (major, minor), (0, 0) elsewhere; uuid: what
    CUDA_VISIBLE_DEVICES calls a card."""

    kind: DeviceKind
    name: str
    memory_bytes: int
    free_bytes: int
    capability: tuple[int, int] = (0, 0)
    driver: str = ""
    uuid: str = ""


@dataclass(frozen=True)
class Hardware:
    """This machine at one moment. The first of `devices` is the one used for training."""

    devices: tuple[Device, ...]
    system: str
    cores: int
    memory_bytes: int
    free_memory_bytes: int
    disk_bytes: int
    free_disk_bytes: int

    @property
    def device(self) -> Device:
        return self.devices[0]

    def free_bytes(self, kind: DeviceKind) -> int:
        """Free memory of the first device of that kind, which may not be the first: torch may not support the card."""
        return next((device.free_bytes for device in self.devices if device.kind == kind), self.free_memory_bytes)

    @property
    def tier(self) -> Tier:
        """low: under 8 GiB of accelerator memory, or none; mid: up to 20 GiB; high: above."""
        if self.device.kind == "cpu" or self.device.memory_bytes < 7.5 * GIB:
            return "low"
        return "mid" if self.device.memory_bytes < 19.5 * GIB else "high"

    @property
    def largest_parameters(self) -> int:
        """About how many parameters a base model for LoRA may have here, limited by memory and, on a processor, time.

        Frozen weights take 4 bytes a parameter on a processor and 2 elsewhere; a third of the memory is left for
        activations. On a processor the limit is a billion, beyond which an epoch takes days.
        """
        bytes_each = 4 if self.device.kind == "cpu" else 2
        fitting = int(self.device.memory_bytes * 2 / 3 / bytes_each)
        return min(fitting, 1_000_000_000) if self.device.kind == "cpu" else fitting

    @property
    def sentence(self) -> str:
        """What this machine can train, in one sentence."""
        size = describe_parameters(self.largest_parameters)
        if self.device.kind == "cpu":
            return (
                f"No graphics card is needed: this machine can train small models (up to about {size} parameters) "
                f"on its processor. Training the starter model takes minutes."
            )
        return f"The {self.device.name} can train models of up to about {size} parameters with LoRA."


def detect(root: Path = Path("/")) -> Hardware:
    """The machine as it is now. root: where the system's /proc and /sys are."""
    memory = psutil.virtual_memory()
    limit, left = _container_bytes(root) or (memory.total, memory.available)
    total, free = min(memory.total, limit), min(memory.available, left)
    home = paths.home()
    disk = shutil.disk_usage(next((place for place in (home, *home.parents) if place.exists()), Path.cwd()))
    cpu = Device("cpu", processor_name(), total, free)
    is_apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    mps = [Device("mps", "Apple GPU", total, free)] if is_apple else []
    return Hardware(
        devices=(*_nvidia_devices(), *mps, cpu),
        system=f"{platform.system()} {platform.release()}",
        cores=psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,
        memory_bytes=total,
        free_memory_bytes=free,
        disk_bytes=disk.total,
        free_disk_bytes=disk.free,
    )


@dataclass(frozen=True)
class Probe:
    """What torch can use here. gigaflops: dtype name -> measured rate of a matrix product, 10^9 operations a second."""

    kind: DeviceKind
    name: str
    capability: tuple[int, int]
    memory_bytes: int
    gigaflops: dict[str, float]
    torch_version: str


def probe() -> Probe:
    """Which device torch can use and how fast each dtype is on it; measured once, then read from the cache.

    Measured in a thread that ends: OpenMP keeps helpers for every thread that has computed, and where these are more
    than the cores, those of a run sleep at each wait instead of spinning, which makes short steps a fifth longer.
    """
    use_one_card()
    if known := find_probe():
        return known
    with ThreadPoolExecutor(1) as own_thread:
        measured = own_thread.submit(_measure, version("torch")).result()
    write_cache("probe.json", {"machine": _name_machine(), **asdict(measured)})
    return measured


def find_probe() -> Probe | None:
    """What was measured on this machine with this version of torch, if anything; torch is not loaded for it."""
    known = read_cache("probe.json")
    if known.pop("machine", "") == _name_machine() and known.get("torch_version") == version("torch"):
        with suppress(TypeError, KeyError):  # damaged: measure again
            return Probe(**{**known, "capability": tuple(known["capability"])})
    return None


def _name_machine() -> str:
    return f"{platform.node()} {processor_name()} {[device.name for device in _nvidia_devices()][:1]}"


def use_one_card() -> None:
    """Let torch see only the NVIDIA card with the most free memory: one process uses one card, and transformers takes
    the first that it sees. A value of CUDA_VISIBLE_DEVICES that is already set stays.

    Call it before anything is placed on a card.
    """
    cards = _nvidia_devices()
    if len(cards) > 1:
        os.environ.setdefault(_VISIBLE, max(cards, key=lambda card: card.free_bytes).uuid)


def describe_parameters(count: int) -> str:
    """135_000_000 -> "135M", 1_500_000_000 -> "1.5B"."""
    return f"{count / 1e9:.3g}B" if count >= 1e9 else f"{count / 1e6:.0f}M"


def describe_bytes(count: float) -> str:
    """1_500_000_000 -> "1.5 GB" (decimal units, as disks are sold)."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} bytes"


def as_json(hardware: Hardware, recommended: dict[str, list[str]]) -> dict[str, Any]:
    """The shape of `modelforge hardware --json`."""
    return {
        "device": hardware.device.name,
        "devices": [asdict(device) for device in hardware.devices],
        "memory_bytes": hardware.device.memory_bytes,
        "tier": hardware.tier,
        "recommended": recommended,
        "system": hardware.system,
        "cores": hardware.cores,
        "free_disk_bytes": hardware.free_disk_bytes,
        "sentence": hardware.sentence,
    }


def _measure(torch_version: str) -> Probe:
    import torch

    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        name, memory, capability = properties.name, properties.total_memory, (properties.major, properties.minor)
    else:
        name, memory, capability = processor_name(), detect().device.memory_bytes, (0, 0)
    rates = {}
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        if device == "cpu" and dtype == torch.float16:
            continue  # without a loss scaler float16 loses small gradients, and it is not faster on processors
        if device == "cuda" and dtype == torch.bfloat16 and capability < (8, 0):
            continue  # before Ampere bfloat16 is emulated
        rates[str(dtype).removeprefix("torch.")] = _gigaflops(torch, device, dtype)
    return Probe(device, name, capability, memory, rates, torch_version)  # type: ignore[arg-type]


def _gigaflops(torch: Any, device: str, dtype: Any) -> float:
    """The best of several short matrix products of a small layer's shape (512 x 1024 by 1024 x 1024)."""
    rows, width = 512, 1024
    left = torch.randn(rows, width, device=device).to(dtype)
    right = torch.randn(width, width, device=device).to(dtype)

    def wait() -> None:
        if device != "cpu":
            getattr(torch, device).synchronize()

    best = float("inf")
    deadline = time.monotonic() + 0.5  # without hardware support one product can take a second: then stop at two
    for attempt in range(30):
        wait()
        start = time.perf_counter()
        torch.nn.functional.linear(left, right)
        wait()
        if attempt:  # the first includes setting up
            best = min(best, time.perf_counter() - start)
        if time.monotonic() > deadline and attempt:
            break
    return float(2 * rows * width * width / best / 1e9)


def _nvidia_devices() -> tuple[Device, ...]:
    """NVIDIA cards by NVML, the one in use first, then by memory; none without a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            try:
                memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
                total, free = int(memory.total), int(memory.free)
            except pynvml.NVMLError:  # a card without memory of its own, as in a DGX Spark
                total, free = psutil.virtual_memory().total, psutil.virtual_memory().available
            major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
            name = str(pynvml.nvmlDeviceGetName(handle))
            uuid = str(pynvml.nvmlDeviceGetUUID(handle))
            found.append(Device("cuda", name, total, free, (major, minor), driver, uuid))
        used = os.environ.get(_VISIBLE, "")
        return tuple(sorted(found, key=lambda card: (card.uuid != used, -card.memory_bytes)))
    finally:
        pynvml.nvmlShutdown()


def processor_name() -> str:
    """As its maker calls it, or at least of which maker it is; the architecture where neither is known."""
    if platform.system() == "Linux":
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - a device file
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _container_bytes(root: Path) -> tuple[int, int] | None:
    """(limit, left of it), the least of the control groups that this process is in, as in a container or on a Space;
    None without a limit. Cached files count as left: the kernel drops them before it refuses memory.

    https://docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/memory.html. root: where /proc and /sys are.
    """
    found = []
    for place, (limits, usage, cached) in _list_control_groups(root):
        bounds = [bound for name in limits if (bound := _read_bytes(place / name)) is not None]
        if bounds:
            used = (_read_bytes(place / usage) or 0) - (_read_bytes(place / "memory.stat", cached) or 0)
            found.append((min(bounds), max(min(bounds) - max(used, 0), 0)))
    return (min(limit for limit, _ in found), min(left for _, left in found)) if found else None


def _list_control_groups(root: Path) -> Iterator[tuple[Path, _GroupFiles]]:
    """The folders of this process's group and of those around it, with the names of their files. A container may not
    see its own folder, only the mounted root."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        controllers, _, path = line.partition(":")[2].partition(":")
        if not controllers:
            mount, names = root / "sys/fs/cgroup", _GROUP_FILES
        elif "memory" in controllers.split(","):
            mount, names = root / "sys/fs/cgroup/memory", _GROUP_FILES_1
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for count in range(len(parts), -1, -1):
            yield mount.joinpath(*parts[:count]), names


def _read_bytes(file: Path, name: str = "") -> int | None:
    """The number in a file of a control group, or behind that name; None for "max" and where there is none."""
    try:
        words = file.read_text(encoding="utf-8").split()
    except OSError:
        return None
    text = words[words.index(name) + 1] if name in words else "" if name else "".join(words)
    return int(text) if text.isdigit() and int(text) < _UNLIMITED_BYTES else None
