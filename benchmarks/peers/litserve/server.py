"""LitServe over the shared model."""

from __future__ import annotations

import litserve as ls
import numpy as np
from served import BATCH_WINDOW_SECONDS, DATATYPE, MAX_BATCH, PORT, Served


class Scores(ls.LitAPI):
    def setup(self, device: str) -> None:
        self.served = Served()

    def decode_request(self, request: dict) -> np.ndarray:
        return np.asarray(request["x"], DATATYPE)[0]

    def batch(self, inputs: list) -> np.ndarray:
        return np.stack(inputs)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.served.predict(x)

    def unbatch(self, output: np.ndarray) -> list:
        return list(output[:, None])

    def encode_response(self, output: np.ndarray) -> dict:
        return {"scores": output.tolist()}


if __name__ == "__main__":
    scores = Scores(max_batch_size=MAX_BATCH, batch_timeout=BATCH_WINDOW_SECONDS)
    server = ls.LitServer(scores, accelerator="cpu", workers_per_device=1, timeout=60)
    server.run(
        host="127.0.0.1",
        port=PORT,
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
