"""The load generator: built once from benchmarks/loadgen, run for each measurement with a plan of prebuilt requests."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from benchmarks.failure import BenchmarkError, ServerError
from benchmarks.models import Model
from benchmarks.peers import Route
from benchmarks.places import HERE, cache
from benchmarks.wire import ANSWERS, http_request

SOURCE: Final = HERE / "loadgen"
Arrivals = Literal["closed", "paced", "poisson", "bursty"]

_BUILD_SECONDS: Final = 600
_STRETCH: Final = 5
"""A slow server's window is longer by up to this factor (benchmarks/loadgen/run.go)."""
_SPARE_SECONDS: Final = 40


@dataclass(frozen=True)
class Load:
    """How a server is loaded. In an open loop latency counts from the intended send time."""

    connections: int
    seconds: float
    warmup_seconds: float = 0.0
    arrivals: Arrivals = "closed"
    requests_per_second: float = 0.0
    max_requests: int = 5_000_000
    seed: int = 1
    timeout_seconds: float = 30.0


@dataclass(frozen=True)
class Outcome:
    """What the generator saw in one measured window."""

    requests_per_second: float
    """Right answers of status 200."""
    p50_milliseconds: float
    p95_milliseconds: float
    p99_milliseconds: float
    right: int
    wrong: int
    """Status 200 with other numbers."""
    refused: int
    """Other statuses."""
    errors: int
    """Connections that broke, and requests without an answer in time."""
    sent: int = 0
    """Warm-up included."""
    example: str = ""
    """The first answer that was wrong or refused."""
    cpu_microseconds: float = 0.0
    """Of all the server's processes, per request that was sent; 0 when it was not looked at."""


def program() -> Path:
    """The built generator; Go's own build cache lies beside it."""
    sources = sorted(path for path in SOURCE.iterdir() if not path.name.endswith("_test.go"))
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    path = cache() / "bin" / f"loadgen-{digest}"
    if not path.exists():
        if shutil.which("go") is None:
            raise BenchmarkError(
                "The load generator is built with Go, which is not on PATH. Get 1.26 from https://go.dev/dl/"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        go("build", "-trimpath", "-o", str(draft), ".")
        draft.replace(path)
    return path


def go(*arguments: str) -> str:
    """Run Go in the generator's module; gives what it printed. Raises `BenchmarkError` with Go's own words."""
    environment = {
        **os.environ,
        "GOCACHE": str(cache() / "gobuild"),
        "GOWORK": "off",
        "CGO_ENABLED": "0",
        "GOFLAGS": "",
    }
    process = subprocess.run(
        ["go", *arguments], cwd=SOURCE, env=environment, capture_output=True, text=True, timeout=_BUILD_SECONDS
    )
    if process.returncode != 0:
        raise BenchmarkError(f"go {arguments[0]} failed in {SOURCE}:\n{process.stdout}{process.stderr}")
    return process.stdout


def run(port: int, route: Route, model: Model, load: Load, cpus: str) -> Outcome:
    """Load one server. Raises `ServerError` when it cannot be reached at all."""
    with tempfile.TemporaryDirectory(prefix="bench-load-") as folder:
        requests = _write_requests(Path(folder), route, model)
        plan = plan_of(f"127.0.0.1:{port}", requests, ANSWERS[route.dialect].as_plan(), load, model.workload.tolerance)
        path = Path(folder) / "plan.json"
        path.write_text(json.dumps(plan))
        return execute(path, load, cpus)


def _write_requests(folder: Path, route: Route, model: Model) -> list[dict[str, Any]]:
    written = []
    for index, (row, expected) in enumerate(zip(model.inputs, model.outputs, strict=True)):
        file = folder / f"request-{index}"
        file.write_bytes(http_request(route, model.workload, row))
        written.append({"file": str(file), "expected": expected.tolist()})
    return written


def plan_of(
    address: str, requests: Sequence[dict[str, Any]], answer: dict[str, str], load: Load, tolerance: float
) -> dict[str, Any]:
    """As benchmarks/loadgen/plan.go reads it."""
    return {
        "address": address,
        "connections": load.connections,
        "arrivals": load.arrivals,
        "rate": load.requests_per_second,
        "seed": load.seed,
        "warmup_seconds": load.warmup_seconds,
        "seconds": load.seconds,
        "max_requests": load.max_requests,
        "timeout_seconds": load.timeout_seconds,
        "requests": list(requests),
        "answer": answer,
        "tolerance": tolerance,
    }


def execute(plan: Path, load: Load, cpus: str) -> Outcome:
    """Run the generator with a written plan. Raises `ServerError` when the server cannot be reached."""
    limit = load.warmup_seconds + _STRETCH * load.seconds + load.timeout_seconds + _SPARE_SECONDS
    command = ["taskset", "-c", cpus, str(program()), "-plan", str(plan)]
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, env={**os.environ, "GOMAXPROCS": "1"}
        )
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"the load did not end within {limit:.0f} s") from error
    if process.returncode != 0:
        raise ServerError(process.stderr.strip().removeprefix("loadgen: "))
    return outcome_of(json.loads(process.stdout))


def outcome_of(report: dict[str, Any]) -> Outcome:
    latency = report["latency_milliseconds"]
    answered_ok = report["statuses"].get("200", 0)
    return Outcome(
        requests_per_second=report["requests_per_second"],
        p50_milliseconds=latency["p50"],
        p95_milliseconds=latency["p95"],
        p99_milliseconds=latency["p99"],
        right=answered_ok - report["wrong"],
        wrong=report["wrong"],
        refused=report["answers"] - answered_ok,
        errors=sum(report["errors"].values()),
        sent=report.get("sent", 0),
        example=report.get("example", ""),
    )
