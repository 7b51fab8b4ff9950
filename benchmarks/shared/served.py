"""The model as every peer holds it. Runs in the peers' environments, so it needs numpy and torch alone.

What to serve comes from the environment: BENCHMARK_ARCHIVE, BENCHMARK_MODEL, BENCHMARK_THREADS, BENCHMARK_PORT,
BENCHMARK_WORKERS and BENCHMARK_SCRATCH, a folder of this start.
"""

from __future__ import annotations

import os
import socket
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

MODEL = os.environ["BENCHMARK_MODEL"]
ARCHIVE = os.environ["BENCHMARK_ARCHIVE"]
THREADS = int(os.environ["BENCHMARK_THREADS"])
PORT = int(os.environ["BENCHMARK_PORT"])
SCRATCH = Path(os.environ["BENCHMARK_SCRATCH"])

DATATYPE = np.int64 if MODEL == "encoder" else np.float32
ROW_SHAPE = {"mlp": (32,), "cnn": (3, 96, 96), "encoder": (64,)}[MODEL]
OUTPUTS = {"mlp": 4, "cnn": 10, "encoder": 16}[MODEL]
MAX_BATCH = 64
BATCH_WINDOW_SECONDS = 0.001

_WARM_UP_BATCHES = (1, 2, 8, MAX_BATCH)


class Served:
    """TorchScript in inference mode, warmed up."""

    def __init__(self) -> None:
        torch.set_num_threads(THREADS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that torch.export is the future
            load: Any = torch.jit.load
            self._module = load(ARCHIVE).eval()
        for rows in _WARM_UP_BATCHES:
            for _ in range(3):
                self.predict(np.zeros((rows, *ROW_SHAPE), DATATYPE))

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """[N, …] of `DATATYPE` to [N, outputs] of float32."""
        with torch.inference_mode():
            scores: np.ndarray = self._module(torch.from_numpy(rows)).numpy()
        return scores


def free_port() -> int:
    """For a second port that a server insists on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
