"""The simulator's question put to the real runtime: python -m tests.simulation.confirm [--model accelerator].

A real process serves a model over loopback. Requests come open loop; a refused one counts as missed. There are two
models. `accelerator` takes the times of the simulator's first hardware and leaves the CPU alone meanwhile, as a GPU
would, so its figures can be laid beside those of the simulator, which are computed for the same arrivals. `wide` is a
model of torch whose weights are too large for the caches, so that batches pay on any CPU; its load is told in shares of
what a closed loop reached just before.

Latency is the client's, from the moment a request was due, so it holds the network stack and the client as well. Two
columns tell those apart: how late the client was to send, and how many of the answers the runtime itself saw late.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import uvloop
from prometheus_client.parser import text_string_to_metric_families

from tests.runtime.server import RuntimeServer
from tests.simulation.arrivals import ARRIVALS
from tests.simulation.engine import served_quantile, simulate
from tests.simulation.hardware import HARDWARE, Hardware
from tests.simulation.openloop import Client, Outcome
from tests.simulation.subject import Subject

_WIDTH: Final = 4096
"""So wide that some hundred requests per second are all a CPU can do, and the client needs little of it."""
_LAYERS: Final = 4
_INPUTS: Final = 64
_CONNECTIONS: Final = 64
_WIDE_TARGET_SECONDS: Final = 0.2
_LOADS: Final = (0.8, 0.95, 1.2)
_SEED: Final = 5
_HARDWARE: Final = HARDWARE["gpu"]
_HANDLER: Final = """
import time
import numpy as np
from tests.simulation.hardware import HARDWARE

HARDWARE = HARDWARE["gpu"]
NOISE = HARDWARE.noise(np.random.default_rng(7))

def signature():
    return {{"inputs": [{{"name": "x", "datatype": "FP32", "shape": [-1, {inputs}]}}],
            "outputs": [{{"name": "y", "datatype": "FP32", "shape": [-1]}}]}}

def predict(batch, ctx):
    end = time.perf_counter() + HARDWARE.seconds(len(batch["x"])) * next(NOISE)
    while (left := end - time.perf_counter()) > 0:
        time.sleep(left)
    return {{"y": batch["x"].sum(axis=1)}}
"""


@dataclass(frozen=True)
class OwnCount:
    """What the runtime itself counts of the target."""

    met: float
    missed: float
    refused: float

    @classmethod
    def read(cls, server: RuntimeServer) -> OwnCount:
        families = {family.name: family.samples for family in text_string_to_metric_families(server.metrics())}
        met, missed = (
            sum(sample.value for sample in families["slipway_runtime_sla_requests"] if sample.labels["met"] == answer)
            for answer in ("true", "false")
        )
        return cls(met, missed, sum(sample.value for sample in families["slipway_runtime_shed"]))

    def late_since(self, before: OwnCount) -> float:
        """Share of the answers that were given since then."""
        late = (self.missed - before.missed) - (self.refused - before.refused)
        return late / max(1.0, late + self.met - before.met)


def save_wide(folder: Path) -> dict[str, Any]:
    """The artifact of the configuration."""
    import torch

    from slipway.torchscript import save

    layers: list[torch.nn.Module] = [torch.nn.Linear(_INPUTS, _WIDTH), torch.nn.ReLU()]
    for _ in range(_LAYERS):
        layers += [torch.nn.Linear(_WIDTH, _WIDTH), torch.nn.ReLU()]
    layers.append(torch.nn.Linear(_WIDTH, 4))
    path = folder / "wide.pt"
    save(torch.nn.Sequential(*layers).eval(), path, inputs={"x": torch.zeros(1, _INPUTS)}, outputs=["y"])
    return {"uri": f"file://{path}"}


def save_accelerator(folder: Path) -> dict[str, Any]:
    path = folder / "handler.py"
    path.write_text(_HANDLER.format(inputs=_INPUTS))
    return {"uri": f"file://{path}", "format": "Python"}


def binary_request(host: str) -> bytes:
    tensor = np.random.default_rng(_SEED).standard_normal((1, _INPUTS)).astype(np.float32).tobytes()
    parameters = {"binary_data_size": len(tensor)}
    inputs = [{"name": "x", "datatype": "FP32", "shape": [1, _INPUTS], "parameters": parameters}]
    text = json.dumps({"inputs": inputs}).encode()
    head = (
        f"POST /v2/models/m/infer HTTP/1.1\r\nHost: {host}\r\nInference-Header-Content-Length: {len(text)}\r\n"
        f"Content-Length: {len(text) + len(tensor)}\r\n\r\n"
    )
    return head.encode() + text + tensor


def simulated(arrivals: np.ndarray, hardware: Hardware) -> str:
    policy = Subject(hardware, np.random.default_rng(_SEED + 1))
    result = simulate(policy, arrivals, hardware, np.random.default_rng(_SEED + 2))
    p99 = served_quantile([result], hardware.quantile) / hardware.target_seconds
    return f"{100 * result.in_target(hardware.target_seconds):.1f} %, {p99:.2f}"


def row(outcome: Outcome, target_seconds: float, late: float) -> list[str]:
    served = outcome.served()
    p99 = float(np.quantile(served, 0.99)) / target_seconds if served else float("nan")
    delay = float(np.quantile(outcome.delays, 0.99)) / target_seconds
    in_target, refused = outcome.in_target(target_seconds), outcome.refused()
    return [f"{100 * in_target:.1f} %", f"{100 * refused:.1f} %", f"{p99:.2f}", f"{delay:.2f}", f"{100 * late:.1f} %"]


async def measure(server: RuntimeServer, seconds: float, target_seconds: float, hardware: Hardware | None) -> None:
    host, _, port = server.address.partition(":")
    client = Client(host, int(port), binary_request(server.address))
    await client.throughput(_CONNECTIONS, seconds / 4)  # the profile settles
    head = [
        "arrivals",
        "load",
        "in target",
        "refused",
        "p99 / target",
        "sent late, p99 / target",
        "late, by the runtime",
    ]
    if hardware is not None:
        capacity = hardware.rows_per_second
        print(f"Full batches back to back: {capacity:.0f} requests per second.\n")
        head.append("simulated: in target, p99 / target")
    else:
        capacity = await client.throughput(_CONNECTIONS, seconds / 2)
        print(f"A closed loop of {_CONNECTIONS} connections: {capacity:.0f} requests per second.\n")
    print(f"| {' | '.join(head)} |\n|---{'|---:' * (len(head) - 1)}|")
    rng = np.random.default_rng(_SEED)
    for name, arrivals in ARRIVALS.items():
        for load in _LOADS:
            times = arrivals(rng, load * capacity, seconds)
            before = OwnCount.read(server)
            outcome = await client.offer(times.tolist())
            cells = [name, f"{load:g}", *row(outcome, target_seconds, OwnCount.read(server).late_since(before))]
            if hardware is not None:
                cells.append(simulated(times, hardware))
            print(f"| {' | '.join(cells)} |", flush=True)


def confirm(model: str, seconds: float) -> None:
    hardware = _HARDWARE if model == "accelerator" else None
    target_seconds = hardware.target_seconds if hardware else _WIDE_TARGET_SECONDS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "config.json"
        settings: dict[str, Any] = {
            "name": "m",
            "artifact": save_accelerator(folder) if hardware else save_wide(folder),
            "sla": {"p99Milliseconds": round(1000 * target_seconds)},
            "tuning": {"enabled": False},
            "accessLog": {"enabled": False},
        }
        if hardware is not None:
            settings["batching"] = {"maxBatchSize": hardware.max_batch_size}
            settings["engine"] = {"workers": 1}
        config.write_text(json.dumps(settings))
        environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
        server = RuntimeServer(folder / "run", "--config", str(config), environment=environment).wait_until_ready()
        try:
            uvloop.run(measure(server, seconds, target_seconds, hardware))
        finally:
            server.kill()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation.confirm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", choices=["accelerator", "wide"], help="default: one after the other")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run")
    arguments = parser.parse_args()
    for model in [arguments.model] if arguments.model else ["accelerator", "wide"]:
        print(f"{model}\n")
        confirm(model, arguments.seconds)
        print()


if __name__ == "__main__":
    main()
