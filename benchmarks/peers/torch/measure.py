"""The model without a server, measured on request: each line on standard input is answered with one of JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from served import ARCHIVE, MAX_BATCH, Served

_BATCHES = tuple(rows for rows in (1, 2, 4, 8, 16, 32, 64) if rows <= MAX_BATCH)


def measure(served: Served, inputs: np.ndarray, seconds: float) -> dict:
    """For each batch size the rows per second and the median milliseconds, each measured for `seconds`."""
    found = {}
    for rows in _BATCHES:
        batch = np.resize(inputs, (rows, *inputs.shape[1:]))
        served.predict(batch)
        times, began = [], time.perf_counter()
        while not times or time.perf_counter() - began < seconds:
            start = time.perf_counter()
            served.predict(batch)
            times.append(time.perf_counter() - start)
        median = sorted(times)[len(times) // 2]
        found[rows] = {"rows_per_second": rows * len(times) / sum(times), "milliseconds": median * 1000}
    return found


if __name__ == "__main__":
    served = Served()
    inputs = np.load(Path(ARCHIVE).with_suffix(".npz"))["inputs"]
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(served, inputs, float(line))), flush=True)
