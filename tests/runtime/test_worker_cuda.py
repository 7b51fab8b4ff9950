"""Torch's GPU memory by worker. The machines of these tests have no GPU: the handler replaces torch's own calls."""

from __future__ import annotations

import os
import signal
import textwrap
from pathlib import Path

import numpy as np
import pytest

from slipway_runtime.contract import ArtifactConfig, Format
from slipway_runtime.engines.counts import EngineCounts
from slipway_runtime.engines.cudamemory import CudaMemory, cuda_memory
from tests.runtime.workers import Workers, open_workers

pytestmark = pytest.mark.runtime

HANDLER = """
    import torch

    class Handler:
        def setup(self, ctx):
            if {gpus}:
                torch.cuda.is_initialized = lambda: True
                torch.cuda.device_count = lambda: {gpus}
                torch.cuda.memory_allocated = lambda device: 1000 + device
                torch.cuda.memory_reserved = lambda device: 4000 + device

        def signature(self):
            spec = {{"datatype": "FP32", "shape": [-1, 1]}}
            return {{"inputs": [{{"name": "x", **spec}}], "outputs": [{{"name": "y", **spec}}]}}

        def predict(self, batch, ctx):
            return {{"y": batch["x"]}}
"""
X = {"x": np.ones((1, 1), np.float32)}


def told(workers: Workers) -> dict[str, float]:
    counts = EngineCounts()
    counts.watch(workers.choice, "cuda", workers.engine.look)
    return {
        f"{family.name.removeprefix('slipway_runtime_torch_cuda_')} {sample.labels['worker']}": sample.value
        for family in counts.collect()
        if "torch_cuda" in family.name
        for sample in family.samples
    }


def handler(folder: Path, gpus: int) -> Path:
    path = folder / "handler.py"
    path.write_text(textwrap.dedent(HANDLER.format(gpus=gpus)))
    return path


def test_each_worker_tells_what_torch_holds_until_its_process_ends(tmp_path: Path) -> None:
    path = handler(tmp_path, gpus=2)
    with open_workers(path, artifact=ArtifactConfig(uri=f"file://{path}", format=Format.PYTHON)) as workers:
        workers.answer(X)
        assert told(workers) == {"allocated_bytes 0": 2001, "reserved_bytes 0": 8001}
        pid = workers.engine.workers[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        workers.wait_until(lambda: workers.engine.workers[0].pid != pid, "its process has ended")
        workers.wait_until_available()
        assert told(workers) == {}, "the next process has told nothing yet"
        workers.answer(X)
        assert told(workers) == {"allocated_bytes 0": 2001, "reserved_bytes 0": 8001}


def test_without_a_gpu_nothing_is_told(tmp_path: Path) -> None:
    path = handler(tmp_path, gpus=0)
    with open_workers(path, artifact=ArtifactConfig(uri=f"file://{path}", format=Format.PYTHON)) as workers:
        workers.answer(X)
        assert told(workers) == {}


def test_the_gateway_tells_of_itself_where_the_model_runs_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert cuda_memory() is None or torch.cuda.is_initialized()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 7)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 9)
    assert cuda_memory() == CudaMemory(7, 9)
