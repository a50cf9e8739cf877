"""What this machine has: real looks at it, and machines that are only described."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pynvml
import pytest

from modelforge import hardware, paths
from modelforge.hardware import (
    GIB,
    Device,
    Hardware,
    Tier,
    describe_bytes,
    describe_parameters,
    detect,
    probe,
    use_one_card,
)


def machine(kind: str, gigabytes: float) -> Hardware:
    accelerator = (Device("cuda", "RTX", int(gigabytes * GIB), GIB),) if kind == "cuda" else ()
    processor = Device("cpu", "a processor", int((8 if accelerator else gigabytes) * GIB), GIB)
    return Hardware((*accelerator, processor), "Linux 6", 4, 8 * GIB, GIB, 100 * GIB, 50 * GIB)


def test_this_machine_is_described_in_full(home: Path) -> None:
    found = detect()
    assert found.devices[-1].kind == "cpu" and found.devices[-1].name
    assert 0 < found.free_memory_bytes <= found.memory_bytes
    assert 0 < found.free_disk_bytes <= found.disk_bytes
    assert found.cores >= 1
    assert found.sentence.endswith(".")
    assert not home.exists()  # looking leaves no trace


def test_audit_01_detecting_again_returns_fresh_values(monkeypatch: pytest.MonkeyPatch) -> None:
    detect()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=9, used=2, free=7))
    memory = SimpleNamespace(total=8 * GIB, available=3 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert (detect().disk_bytes, detect().free_disk_bytes) == (9, 7)
    assert detect().free_memory_bytes <= 3 * GIB
    memory.available = GIB
    assert detect().free_memory_bytes <= GIB


@pytest.fixture
def with_cards(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """The answers of a driver: (name, bytes or None, capability) for each card. The list may change afterwards."""

    def install(*cards: tuple[str, int | None, tuple[int, int]]) -> list[Any]:
        present = list(cards)

        def memory(index: int) -> Any:
            if present[index][1] is None:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            return SimpleNamespace(total=present[index][1], free=present[index][1] // 2)

        for name, answer in {
            "Init": lambda: None,
            "Shutdown": lambda: None,
            "SystemGetDriverVersion": lambda: "580.65",
            "DeviceGetCount": lambda: len(present),
            "DeviceGetHandleByIndex": lambda index: index,
            "DeviceGetMemoryInfo": memory,
            "DeviceGetCudaComputeCapability": lambda index: present[index][2],
            "DeviceGetName": lambda index: present[index][0],
            "DeviceGetUUID": lambda index: f"GPU-{index}",
        }.items():
            monkeypatch.setattr(pynvml, f"nvml{name}", answer)
        return present

    return install


def test_largest_card_comes_first_and_the_processor_last(with_cards: Callable[..., list[Any]]) -> None:
    with_cards(("GT 710", 2 * GIB, (3, 5)), ("RTX 3090", 24 * GIB, (8, 6)))
    found = detect()
    assert [device.name for device in found.devices[:2]] == ["RTX 3090", "GT 710"]
    assert (found.device.capability, found.device.driver, found.tier) == ((8, 6), "580.65", "high")
    assert found.devices[-1].kind == "cpu"
    assert "RTX 3090" in found.sentence


def test_of_two_cards_torch_sees_the_one_with_the_most_free_memory(
    with_cards: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # so that it is put back at the end
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with_cards(("RTX 4060", 8 * GIB, (8, 9)))
    use_one_card()
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    with_cards(("RTX 4060", 8 * GIB, (8, 9)), ("RTX 3090", 24 * GIB, (8, 6)))
    use_one_card()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-1" and detect().device.name == "RTX 3090"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-0")  # somebody's own choice stays, and is what is told
    use_one_card()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-0" and detect().device.name == "RTX 4060"


def test_audit_01_card_that_is_unplugged_is_gone_at_the_next_look(with_cards: Callable[..., list[Any]]) -> None:
    present = with_cards(("RTX 4060", 8 * GIB, (8, 9)))
    assert detect().device.name == "RTX 4060"
    present.clear()
    assert detect().device.kind in ("cpu", "mps")


def test_card_without_memory_of_its_own_has_the_machines(with_cards: Callable[..., list[Any]]) -> None:
    with_cards(("NVIDIA GB10", None, (12, 1)))
    assert detect().device.memory_bytes == psutil.virtual_memory().total


def test_machine_without_a_driver_is_a_normal_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    assert detect().device.kind in ("cpu", "mps")
    assert "No graphics card is needed" in machine("cpu", 16).sentence


def control_groups(root: Path, own: str, files: dict[str, str | int]) -> Path:
    """A tree of control groups as /sys/fs/cgroup and /proc/self/cgroup have it: relative path -> content."""
    for name, content in {"proc/self/cgroup": own, **files}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n")
    return root


GROUPS = "sys/fs/cgroup"


@pytest.mark.parametrize(
    ("own", "files", "total", "free"),
    [
        pytest.param(
            "0::/",
            {"memory.max": 4 * GIB, "memory.current": 3 * GIB, "memory.stat": f"anon 1\ninactive_file {GIB}"},
            *(4, 2),
            id="container",  # cached files can be dropped
        ),
        pytest.param(
            "0::/", {"memory.max": "max", "memory.high": 2 * GIB, "memory.current": GIB}, *(2, 1), id="high alone"
        ),
        pytest.param(
            "0::/", {"memory.max": 4 * GIB, "memory.high": 2 * GIB, "memory.current": GIB}, *(2, 1), id="high is lower"
        ),
        pytest.param(
            "0::/job/step",
            {
                "memory.max": "max",
                "job/memory.max": 5 * GIB,
                "job/memory.current": 4 * GIB,
                "job/step/memory.max": 6 * GIB,
                "job/step/memory.current": GIB,
            },
            *(5, 1),
            id="nested",  # what neighbours in the job use counts
        ),
        pytest.param(
            "11:cpu:/x\n9:memory:/docker/abc",
            {
                "memory/memory.limit_in_bytes": 2**63 - 4096,
                "memory/docker/abc/memory.limit_in_bytes": 4 * GIB,
                "memory/docker/abc/memory.usage_in_bytes": 3 * GIB,
                "memory/docker/abc/memory.stat": f"inactive_file 7\ntotal_inactive_file {GIB}",
            },
            *(4, 2),
            id="version 1",
        ),
        pytest.param(
            "9:memory:/docker/abc",
            {"memory/memory.limit_in_bytes": 4 * GIB, "memory/memory.usage_in_bytes": GIB},
            *(4, 3),
            id="version 1, its own path hidden",  # as docker mounts it
        ),
        pytest.param("0::/", {"memory.max": GIB, "memory.current": 2 * GIB}, *(1, 0), id="over its limit"),
        pytest.param("0::/", {"memory.max": 900 * GIB, "memory.current": GIB}, *(8, 6), id="limit above the machine"),
        pytest.param("0::/", {}, *(8, 6), id="no limit"),
        pytest.param("nonsense", {"memory.max": "soon"}, *(8, 6), id="unreadable"),
    ],
)
def test_fault_08_free_memory_in_a_container_is_what_is_left_of_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, own: str, files: dict[str, Any], total: int, free: int
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=8 * GIB, available=6 * GIB))
    root = control_groups(tmp_path, own, {f"{GROUPS}/{name}": content for name, content in files.items()})
    found = detect(root)
    assert (found.memory_bytes, found.free_memory_bytes) == (total * GIB, free * GIB)


@pytest.mark.parametrize(
    ("kind", "gigabytes", "tier"),
    [
        ("cpu", 64, "low"),
        ("cuda", 6, "low"),
        ("cuda", 7.99, "mid"),  # an 8 GB card shows a little less
        ("cuda", 16, "mid"),
        ("cuda", 23.9, "high"),
        ("cuda", 80, "high"),
    ],
)
def test_tier_follows_the_accelerators_memory(kind: str, gigabytes: float, tier: Tier) -> None:
    assert machine(kind, gigabytes).tier == tier


def test_free_bytes_are_those_of_the_device_that_is_used() -> None:
    found = Hardware(
        (Device("cuda", "a card torch cannot use", 8 * GIB, 7 * GIB), Device("cpu", "a processor", 16 * GIB, 3 * GIB)),
        *("Linux", 4, 16 * GIB, 3 * GIB, 100 * GIB, 50 * GIB),
    )
    assert found.free_bytes("cuda") == 7 * GIB
    assert found.free_bytes("cpu") == found.free_bytes("mps") == 3 * GIB


def test_larger_machines_train_larger_models() -> None:
    sizes = [machine("cuda", gigabytes).largest_parameters for gigabytes in (4, 8, 24, 80)]
    assert sizes == sorted(sizes)
    assert machine("cpu", 512).largest_parameters == 1_000_000_000  # patience, not memory
    assert machine("cpu", 2).largest_parameters < 1_000_000_000


def test_probe_is_measured_once_and_then_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = probe()
    assert first.kind in ("cpu", "cuda", "mps")
    assert first.gigaflops["float32"] > 0.1
    monkeypatch.setattr(hardware, "_measure", lambda _: pytest.fail("measured again"))
    assert probe() == first


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"machine": 1}', "other machine", "other torch"])
def test_probe_that_is_damaged_or_of_another_machine_is_measured_again(
    home: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(hardware, "_gigaflops", lambda *_: 50.0)  # measuring takes half a second
    cache = paths.cache_dir() / "probe.json"
    first = probe()
    known = json.loads(cache.read_text())
    changes = {"other machine": {"machine": "x"}, "other torch": {"torch_version": "1.0"}}
    cache.write_text(json.dumps(known | changes[damage]) if damage in changes else damage)
    again = probe()
    assert (again.kind, again.name) == (first.kind, first.name)
    assert json.loads(cache.read_text())["machine"] == known["machine"]


def test_json_has_the_documented_keys(home: Path) -> None:
    shape = hardware.as_json(detect(), {"text-generation": ["x"]})
    assert {"device", "devices", "memory_bytes", "tier", "recommended"} <= shape.keys()
    assert json.loads(json.dumps(shape))["devices"][0]["kind"]


def test_numbers_are_told_in_words() -> None:
    assert [describe_parameters(count) for count in (134_515_008, 1_711_376_384, 8_190_735_360)] == [
        "135M",
        "1.71B",
        "8.19B",
    ]
    assert [describe_bytes(count) for count in (12, 3_400, 25_000_000, 1.5e9, 2e12)] == [
        "12 bytes",
        "3.4 kB",
        "25 MB",
        "1.5 GB",
        "2 TB",
    ]
