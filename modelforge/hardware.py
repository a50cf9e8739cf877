"""What this machine has: devices, memory, disk, and which number formats are really fast here.

`detect` is quick and loads neither torch nor a driver beyond NVML; call it again for fresh values. `probe` loads torch
and times a matrix product, once a machine: the result is cached. What to *do* with these facts is decided in
`compute/decide.py`.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import psutil

from modelforge import paths

DeviceKind = Literal["cuda", "mps", "cpu"]
Tier = Literal["low", "mid", "high"]

GIB = 1024**3
_VISIBLE = "CUDA_VISIBLE_DEVICES"


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
    """This machine, at one moment. `devices` has the one that training uses first."""

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
        """Free memory of the first device of that kind: torch may be without support for a card that is there."""
        return next((device.free_bytes for device in self.devices if device.kind == kind), self.free_memory_bytes)

    @property
    def tier(self) -> Tier:
        """low: under 8 GiB of accelerator memory, or none; mid: up to 20 GiB; high: above."""
        if self.device.kind == "cpu" or self.device.memory_bytes < 7.5 * GIB:
            return "low"
        return "mid" if self.device.memory_bytes < 19.5 * GIB else "high"

    @property
    def largest_parameters(self) -> int:
        """About how many parameters a base model for LoRA may have here, from memory and, on a processor, patience.

        Frozen weights take 4 bytes a parameter on a processor and 2 elsewhere; a third of the memory is left for
        activations. A processor is held to a billion, beyond which an epoch takes days.
        """
        bytes_each = 4 if self.device.kind == "cpu" else 2
        fitting = int(self.device.memory_bytes * 2 / 3 / bytes_each)
        return min(fitting, 1_000_000_000) if self.device.kind == "cpu" else fitting

    @property
    def sentence(self) -> str:
        """What this machine means to somebody who wants to train, in one plain sentence."""
        size = describe_parameters(self.largest_parameters)
        if self.device.kind == "cpu":
            return (
                f"No graphics card is needed: this machine trains small models (up to about {size} parameters) "
                f"on its processor; the starter model takes minutes."
            )
        return f"The {self.device.name} trains models of up to about {size} parameters with LoRA."


def detect() -> Hardware:
    """Look at the machine, afresh at every call."""
    memory = psutil.virtual_memory()
    limit = _container_limit_bytes()
    total = min(memory.total, limit) if limit else memory.total
    free = min(memory.available, total)
    home = paths.home()
    disk = shutil.disk_usage(next((place for place in (home, *home.parents) if place.exists()), Path.cwd()))
    cpu = Device("cpu", _processor_name(), total, free)
    mps = [Device("mps", "Apple GPU", total, free)] if _is_apple_silicon() else []
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
    """What torch can use here, measured. gigaflops: dtype name -> rate of a matrix product (10^9 a second)."""

    kind: DeviceKind
    name: str
    capability: tuple[int, int]
    memory_bytes: int
    gigaflops: dict[str, float]
    torch_version: str


def probe() -> Probe:
    """Which device torch can use and how fast each dtype is on it; measured once, then read from the cache."""
    use_one_card()
    cache = paths.cache_dir() / "probe.json"
    torch_version = version("torch")
    machine = f"{platform.node()} {_processor_name()} {[device.name for device in _nvidia_devices()][:1]}"
    if cache.exists():
        try:
            known = json.loads(cache.read_text(encoding="utf-8"))
            if known.pop("machine") == machine and known["torch_version"] == torch_version:
                return Probe(**{**known, "capability": tuple(known["capability"])})
        except (ValueError, TypeError, KeyError, AttributeError):
            cache.unlink(missing_ok=True)  # not ours or half-written: measure again
    measured = _measure(torch_version)
    cache.parent.mkdir(parents=True, exist_ok=True)
    partial = cache.with_name(f"probe.{os.getpid()}.json")
    partial.write_text(json.dumps({"machine": machine, **asdict(measured)}), encoding="utf-8")
    partial.replace(cache)
    return measured


def use_one_card() -> None:
    """Of several NVIDIA cards let torch see the one with the most free memory and no other: one process drives one
    card, and transformers takes the first that it sees. A choice that somebody has made stays.

    It has to be called before anything is put onto a card.
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
        name, memory, capability = _processor_name(), detect().device.memory_bytes, (0, 0)
    rates = {}
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        if device == "cpu" and dtype == torch.float16:
            continue  # half precision without a loss scaler loses small gradients; no CPU here gains from it
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
    deadline = time.monotonic() + 0.5  # a dtype without hardware takes a second for one product: never more than two
    for attempt in range(30):
        wait()
        start = time.perf_counter()
        torch.nn.functional.linear(left, right)
        wait()
        if attempt:  # the first one pays for setting up
            best = min(best, time.perf_counter() - start)
        if time.monotonic() > deadline and attempt:
            break
    return float(2 * rows * width * width / best / 1e9)


def _nvidia_devices() -> tuple[Device, ...]:
    """NVIDIA cards by NVML, the one that is used first, else the one with the most memory; none without a driver."""
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


def _is_apple_silicon() -> bool:
    return platform.system() == "Darwin" and platform.machine() == "arm64"


def _processor_name() -> str:
    if platform.system() == "Linux":
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - a device file
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _container_limit_bytes() -> int:
    """The memory limit of the control group, as on a Space; 0 without one."""
    for place in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(place, encoding="utf-8") as limit:  # noqa: PTH123
                text = limit.read().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < 2**60:
            return int(text)
    return 0
