"""Metrics of the engine and of its workers, looked up when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from slipway_runtime.engines.choice import EngineChoice
from slipway_runtime.engines.cudamemory import CudaMemory, cuda_memory


@dataclass(frozen=True)
class WorkerState:
    number: int
    state: str
    batches: int
    busy_seconds: float
    """In the model."""
    restarts: Mapping[str, int]
    """By cause."""
    memory_bytes: int
    """Resident, with what it shares with the gateway."""
    cuda: CudaMemory | None = None
    """As it told last; None where it uses no GPU."""


@dataclass(frozen=True)
class EngineState:
    states: Sequence[str] = ()
    """All that a worker can be in."""
    causes: Sequence[str] = ()
    """All that a worker can be restarted for."""
    workers: Sequence[WorkerState] = ()
    shared_memory_bytes: int = 0
    cuda: CudaMemory | None = None
    """Of the gateway, where the model runs there."""

    @classmethod
    def of_gateway(cls) -> EngineState:
        """Without workers."""
        return cls(cuda=cuda_memory())


class EngineCounts(Collector):
    """Empty until `watch` tells which engine there is."""

    def __init__(self) -> None:
        self.choice: EngineChoice | None = None
        self._device = ""
        self._look: Callable[[], EngineState] = EngineState

    def watch(self, choice: EngineChoice, device: str, look: Callable[[], EngineState] = EngineState) -> None:
        """`look` is called in the admin port's thread."""
        self._device, self._look = device, look
        self.choice = choice

    def collect(self) -> Iterator[Metric]:
        engine = self._look()
        info = GaugeMetricFamily(
            "slipway_runtime_engine_info",
            "1, with where the model runs in the labels. engine: InProcess or Worker; threads: of each worker.",
            labels=["engine", "workers", "threads", "device"],
        )
        choice = self.choice
        if choice is not None:
            info.add_metric([str(choice.kind), str(choice.workers), str(choice.threads), self._device], 1)
        yield info
        yield GaugeMetricFamily(
            "slipway_runtime_shared_memory_bytes",
            "Memory that the gateway shares with workers for batches; part of the container's memory.",
            engine.shared_memory_bytes,
        )
        yield from _worker_metrics(engine)


def _worker_metrics(engine: EngineState) -> Iterator[Metric]:
    states = GaugeMetricFamily(
        "slipway_runtime_worker_state",
        "1 for the state that the worker is in, else 0. state: starting, idle, busy, backing_off (it ended and is"
        " started again after a while), closed.",
        labels=["worker", "state"],
    )
    restarts = CounterMetricFamily(
        "slipway_runtime_worker_restarts",
        "Ends of the worker's process that it was started again for. cause: crash, out_of_memory, hang, protocol (it"
        " sent what cannot be understood), start (it could not load the model again).",
        labels=["worker", "cause"],
    )
    batches = CounterMetricFamily(
        "slipway_runtime_worker_batches", "Batches that the worker answered.", labels=["worker"]
    )
    busy = CounterMetricFamily(
        "slipway_runtime_worker_busy_seconds",
        "Time that the worker spent in the model; its rate is the busy ratio.",
        labels=["worker"],
    )
    memory = GaugeMetricFamily(
        "slipway_runtime_worker_resident_memory_bytes",
        "Resident memory of the worker's process, 0 while there is none.",
        labels=["worker"],
    )
    for worker in engine.workers:
        number = str(worker.number)
        for state in engine.states:
            states.add_metric([number, state], float(state == worker.state))
        for cause in engine.causes:
            restarts.add_metric([number, cause], worker.restarts.get(cause, 0))
        batches.add_metric([number], worker.batches)
        busy.add_metric([number], worker.busy_seconds)
        memory.add_metric([number], worker.memory_bytes)
    yield from (states, restarts, batches, busy, memory)
    held = {str(worker.number): worker.cuda for worker in engine.workers} | {"gateway": engine.cuda}
    yield from _cuda_metrics({name: cuda for name, cuda in held.items() if cuda is not None})


def _cuda_metrics(held: Mapping[str, CudaMemory]) -> Iterator[Metric]:
    allocated = GaugeMetricFamily(
        "slipway_runtime_torch_cuda_allocated_bytes",
        "GPU memory in torch's tensors, told with a batch at most once a second. worker: its number, or gateway where"
        " the model runs there; absent where torch uses no GPU.",
        labels=["worker"],
    )
    reserved = GaugeMetricFamily(
        "slipway_runtime_torch_cuda_reserved_bytes",
        "GPU memory that torch keeps for tensors, the allocated included.",
        labels=["worker"],
    )
    for name, cuda in held.items():
        allocated.add_metric([name], cuda.allocated_bytes)
        reserved.add_metric([name], cuda.reserved_bytes)
    yield allocated
    yield reserved
