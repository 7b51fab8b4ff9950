"""Ray Serve over the shared model, one replica."""

from __future__ import annotations

import os
import signal

import numpy as np
import ray
from ray import serve
from served import BATCH_WINDOW_SECONDS, DATATYPE, MAX_BATCH, MODEL, PORT, SCRATCH, THREADS, Served
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=512, ray_actor_options={"num_cpus": 1})
class Scores:
    def __init__(self) -> None:
        self.served = Served()

    async def __call__(self, request: Request) -> dict:
        rows = np.asarray((await request.json())["x"], DATATYPE)
        if MODEL == "mlp":  # here its batching costs more than it saves
            return {"scores": self.served.predict(rows).tolist()}
        return {"scores": [await self.batch(rows[0])]}

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=BATCH_WINDOW_SECONDS)
    async def batch(self, rows: list) -> list:
        return self.served.predict(np.stack(rows)).tolist()


if __name__ == "__main__":
    # Logical CPUs for the proxy, the controller and the replica; they share the cores that the process is held to.
    ray.init(
        num_cpus=max(4, THREADS),
        include_dashboard=False,
        object_store_memory=100 * 1024 * 1024,
        _temp_dir=os.environ.get("BENCHMARK_RAY_FOLDER", str(SCRATCH)),
        log_to_driver=False,
    )
    serve.start(
        http_options={"host": "127.0.0.1", "port": PORT},
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )
    serve.run(Scores.bind(), route_prefix="/predict")
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    ray.shutdown()
