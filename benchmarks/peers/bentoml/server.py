"""BentoML over the shared model, with its adaptive batching."""

from __future__ import annotations

import bentoml
import numpy as np
from served import DATATYPE, MAX_BATCH, Served


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 4096}, logging={"access": {"enabled": False}})
class Service:
    def __init__(self) -> None:
        self.served = Served()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=30_000, route="/predict")
    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.served.predict(np.ascontiguousarray(x, DATATYPE))
