"""What the load generator is able to ask for, seen against its own trivial server."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import generator, machine
from benchmarks.generator import Load
from benchmarks.models import Model
from benchmarks.peers import Dialect, Route
from benchmarks.wire import ANSWERS, http_request

TRIVIAL_SCORES = (1.0, 2.0, 3.0, 4.0)
"""As benchmarks/loadgen/trivial.go answers everything."""


def ceiling(model: Model, seconds: float = 1.0) -> float:
    """Right answers per second with 64 connections, generator and server on one core each where there are two."""
    placement = machine.one_core(machine.usable())
    command = ["taskset", "-c", placement.server_list, str(generator.program()), "-serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            route = Route(path="/", dialect=Dialect.PLAIN)
            with tempfile.TemporaryDirectory(prefix="bench-load-") as folder:
                request = Path(folder) / "request"
                request.write_bytes(http_request(route, model.workload, np.asarray(model.inputs[0])))
                load = Load(64, seconds, 0.3)
                asked = [{"file": str(request), "expected": list(TRIVIAL_SCORES)}]
                plan = generator.plan_of(address, asked, ANSWERS[route.dialect].as_plan(), load, 1e-6)
                path = Path(folder) / "plan.json"
                path.write_text(json.dumps(plan))
                return generator.execute(path, load, placement.generator_list).requests_per_second
        finally:
            server.kill()
