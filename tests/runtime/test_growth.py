"""Batches of a real worker that grow after a start on a throttled machine."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.runtime.server import RuntimeServer
from tests.runtime.test_batching import metric

pytestmark = pytest.mark.runtime

_CLIENTS: Final = 12
_ROWS: Final = 3
_PATIENCE_SECONDS: Final = 200
_HANDLER: Final = """
import time
import numpy as np

def signature():
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}]}

def example():
    return {"x": np.zeros(2, np.float32)}

def predict(batch, ctx):
    x = batch["x"]
    # The example alone meets a slow machine; requests cost the same however many share a batch.
    time.sleep(0.05 if x.any() else 0.3 + 0.15 * len(x))
    return {"y": x.sum(axis=1)}
"""


@pytest.mark.feature("dynamic-batching")
def test_batches_grow_beyond_what_a_throttled_start_measured(tmp_path: Path) -> None:
    (tmp_path / "handler.py").write_text(_HANDLER)
    config = tmp_path / "config.json"
    artifact = {"uri": f"file://{tmp_path}/handler.py", "format": "Python"}
    config.write_text(json.dumps({"name": "m", "artifact": artifact, "sla": {"p99Milliseconds": 1000}}))
    server = RuntimeServer(tmp_path / "run", "--config", str(config)).wait_until_ready()
    wrong: list[str] = []
    stop = threading.Event()

    def repeat(number: int) -> None:
        rows = [[number + row, 1] for row in range(_ROWS)]
        while not stop.is_set():
            answer = client.post("/predict", json=rows)
            if answer.status_code == 200:
                if answer.json()["outputs"]["y"] != [number + row + 1 for row in range(_ROWS)]:
                    wrong.append(answer.text)
            elif answer.status_code != 429:
                wrong.append(answer.text)

    client = httpx.Client(base_url=server.uri, timeout=60)
    threads = [threading.Thread(target=repeat, args=(number,)) for number in range(_CLIENTS)]
    try:
        told = client.get("/v2/models/m/config").json()["max_batch_size"]
        assert told < 8, "the start was not slow enough for the test to show anything"
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while metric(server, "batch_growth_total", outcome="kept") < 1:
            assert time.monotonic() < deadline, server.log
            time.sleep(0.5)
        assert metric(server, "batch_limit_rows", bucket="2") > told
    finally:
        stop.set()
        for thread in threads:
            if thread.is_alive():
                thread.join()
        client.close()
        server.kill()
    assert wrong == []
    assert any("Batches grow from" in line["message"] for line in server.log)
