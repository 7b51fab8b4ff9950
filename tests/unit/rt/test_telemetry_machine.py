"""What the container and its GPUs tell of themselves."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from slipway_runtime.telemetry.cgroup import OWN, ROOT, CgroupCollector, Usage, read_usage
from slipway_runtime.telemetry.gpu import GpuCollector, import_nvml

pytestmark = pytest.mark.unit


def write(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def usage_of(folder: Path, own: str, files: dict[str, str]) -> Usage:
    write(folder / "root", files)
    (folder / "own").write_text(own)
    return read_usage(folder / "root", folder / "own")


V2 = {
    "memory.current": "1048576\n",
    "memory.max": "2097152\n",
    "cpu.stat": "usage_usec 9\nnr_throttled 3\nthrottled_usec 2500000\n",
}


def test_version_2_is_read_in_a_container(tmp_path: Path) -> None:
    files = {"cgroup.controllers": "cpu memory\n", **V2}
    assert usage_of(tmp_path, "0::/kubepods/pod1/abc\n", files) == Usage(1048576, 2097152, 2.5)


def test_version_2_is_read_in_the_own_group(tmp_path: Path) -> None:
    files = {"cgroup.controllers": "cpu memory\n", "cpu.stat": "throttled_usec 7\n"}
    files |= {f"a/b/{name}": content for name, content in V2.items()}
    assert usage_of(tmp_path, "0::/a/b\n", files | {"a/b/memory.max": "max\n"}) == Usage(1048576, None, 2.5)


def test_version_1_is_read(tmp_path: Path) -> None:
    files = {
        "memory/x/memory.usage_in_bytes": "5000\n",
        "memory/x/memory.limit_in_bytes": "9223372036854771712\n",
        "cpu/cpu.stat": "nr_periods 1\nnr_throttled 1\nthrottled_time 1500000000\n",
    }
    own = "4:memory:/x\n2:cpu,cpuacct:/elsewhere\n0::/\n"
    assert usage_of(tmp_path, own, files) == Usage(5000, None, 1.5)


def test_what_the_kernel_does_not_tell_is_left_out(tmp_path: Path) -> None:
    usage = usage_of(tmp_path, "", {"cgroup.controllers": "", "cpu.stat": "throttled_usec many\nx\n"})
    assert usage == Usage()
    registry = CollectorRegistry()
    registry.register(CgroupCollector(tmp_path / "nowhere", tmp_path / "nowhere"))
    assert {family.name: family.samples for family in registry.collect()} == {
        "slipway_runtime_cgroup_memory_bytes": [],
        "slipway_runtime_cgroup_memory_limit_bytes": [],
        "slipway_runtime_cpu_throttled_seconds": [],
    }


def test_this_machine_tells_its_memory() -> None:
    if not ROOT.exists() or not OWN.exists():
        pytest.skip("This machine has no control groups.")
    registry = CollectorRegistry()
    registry.register(CgroupCollector())
    used = registry.get_sample_value("slipway_runtime_cgroup_memory_bytes")
    assert used is None or used > 0


class NVMLError(Exception):
    pass


class NotSupportedError(NVMLError):
    pass


class LibraryNotFoundError(NVMLError):
    pass


class FakeNvml:
    """NVML with one GPU and one slice of another. What no GPU can be told to do: to fail when it is asked."""

    NVMLError = NVMLError
    NVMLError_NotSupported = NotSupportedError
    NVMLError_LibraryNotFound = LibraryNotFoundError

    def __init__(self, init_error: Exception | None = None) -> None:
        self.init_error = init_error
        self.count_error: Exception | None = None
        self.starts = 0

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's own names
        self.starts += 1
        if self.init_error is not None:
            raise self.init_error

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        if self.count_error is not None:
            raise self.count_error
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetUUID(self, device: int) -> str | bytes:  # noqa: N802
        return f"GPU-{device}".encode() if device else f"GPU-{device}"

    def nvmlDeviceGetUtilizationRates(self, device: int) -> Any:  # noqa: N802
        if device == 1:
            raise NotSupportedError
        return SimpleNamespace(gpu=40, memory=10)

    def nvmlDeviceGetMemoryInfo(self, device: int) -> Any:  # noqa: N802
        return SimpleNamespace(used=10, total=100 + device)

    def nvmlDeviceGetPowerUsage(self, device: int) -> int:  # noqa: N802
        return 70_500


def scraped(collector: GpuCollector) -> dict[str, float]:
    prefix = "slipway_runtime_gpu_"
    return {
        f"{sample.name.removeprefix(prefix)} {sample.labels['gpu']} {sample.labels['uuid']}": sample.value
        for family in collector.collect()
        for sample in family.samples
    }


def test_every_gpu_tells_what_it_can() -> None:
    collector = GpuCollector(FakeNvml)
    assert scraped(collector) == {
        "utilization_ratio 0 GPU-0": 0.4,
        "memory_used_bytes 0 GPU-0": 10,
        "memory_used_bytes 1 GPU-1": 10,
        "memory_total_bytes 0 GPU-0": 100,
        "memory_total_bytes 1 GPU-1": 101,
        "power_watts 0 GPU-0": 70.5,
        "power_watts 1 GPU-1": 70.5,
    }


def test_without_a_gpu_nothing_is_told() -> None:
    assert scraped(GpuCollector(lambda: None)) == {}
    without_library = FakeNvml(LibraryNotFoundError())
    collector = GpuCollector(lambda: without_library)
    assert [scraped(collector), scraped(collector)] == [{}, {}]
    assert without_library.starts == 1


def test_a_library_that_fails_is_tried_again_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    nvml = FakeNvml(NVMLError("driver mismatch"))
    collector = GpuCollector(lambda: nvml)
    with caplog.at_level(logging.WARNING):
        assert [scraped(collector), scraped(collector)] == [{}, {}]
        nvml.init_error = None
        assert len(scraped(collector)) == 7
        nvml.count_error = NVMLError("GPU is lost")
        assert scraped(collector) == {}
        nvml.count_error = None
        assert len(scraped(collector)) == 7
    assert caplog.text.count("NVML does not answer") == 1


def test_a_real_gpu_is_told_of() -> None:
    if import_nvml() is None:
        pytest.skip("This machine has no NVIDIA GPU (/dev/nvidiactl).")
    told = scraped(GpuCollector())
    assert any(key.startswith("memory_total_bytes 0 ") and value > 0 for key, value in told.items()), told
