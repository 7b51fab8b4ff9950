"""What the GPUs do, as NVIDIA's management library (NVML) tells. Absent where there are none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_DEVICES: Final = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""One of them is there in every container that sees a GPU; the second under WSL."""

log = logging.getLogger(__name__)


def import_nvml() -> Any | None:
    """The module `pynvml`; None, without the cost of importing it, where no GPU can be."""
    if not any(device.exists() for device in _DEVICES):
        return None
    import pynvml

    return pynvml


class GpuCollector(Collector):
    """Asked in the admin port's thread. A value that a GPU does not tell is left out; a library that fails is tried
    again at the next scrape, and one that cannot be loaded is not."""

    def __init__(self, find: Callable[[], Any | None] = import_nvml) -> None:
        self._find = find
        self._nvml: Any = None
        self._ready = False
        self._absent = False
        self._said = False

    def collect(self) -> Iterator[Metric]:
        families = _Families()
        if self._connect():
            try:
                for index in range(self._nvml.nvmlDeviceGetCount()):
                    families.add(self._nvml, index)
            except self._nvml.NVMLError as error:
                self._say(error)
                self._ready = False
        yield from families.all

    def _connect(self) -> bool:
        if self._ready or self._absent:
            return self._ready
        if self._nvml is None:
            self._nvml = self._find()
        if self._nvml is None:
            self._absent = True
            return False
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError_LibraryNotFound:
            self._absent = True
            return False
        except self._nvml.NVMLError as error:
            self._say(error)
            return False
        self._ready = True
        return True

    def _say(self, error: Exception) -> None:
        if not self._said:
            log.warning("NVML does not answer, so there are no GPU metrics for now: %s", error)
        self._said = True


class _Families:
    def __init__(self) -> None:
        labels = ["gpu", "uuid"]
        self._utilization = GaugeMetricFamily(
            "slipway_runtime_gpu_utilization_ratio", "Share of time in which the GPU ran a kernel.", labels=labels
        )
        self._used = GaugeMetricFamily(
            "slipway_runtime_gpu_memory_used_bytes", "Memory of the GPU in use, by all processes.", labels=labels
        )
        self._total = GaugeMetricFamily("slipway_runtime_gpu_memory_total_bytes", "Memory of the GPU.", labels=labels)
        self._power = GaugeMetricFamily("slipway_runtime_gpu_power_watts", "Power that the GPU draws.", labels=labels)
        self.all = (self._utilization, self._used, self._total, self._power)

    def add(self, nvml: Any, index: int) -> None:
        def told(ask: Callable[[], Any]) -> Any:
            """None for what this GPU does not tell, as slices of one (MIG) do not tell their utilisation."""
            try:
                return ask()
            except nvml.NVMLError_NotSupported:
                return None

        device = nvml.nvmlDeviceGetHandleByIndex(index)
        uuid = told(lambda: nvml.nvmlDeviceGetUUID(device)) or ""
        labels = [str(index), uuid.decode() if isinstance(uuid, bytes) else uuid]
        rates = told(lambda: nvml.nvmlDeviceGetUtilizationRates(device))
        if rates is not None:
            self._utilization.add_metric(labels, rates.gpu / 100)
        memory = told(lambda: nvml.nvmlDeviceGetMemoryInfo(device))
        if memory is not None:
            self._used.add_metric(labels, memory.used)
            self._total.add_metric(labels, memory.total)
        milliwatts = told(lambda: nvml.nvmlDeviceGetPowerUsage(device))
        if milliwatts is not None:
            self._power.add_metric(labels, milliwatts / 1000)
