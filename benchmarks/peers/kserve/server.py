"""KServe's Python model server over the shared model."""

from __future__ import annotations

import logging

import kserve
import numpy as np
from served import DATATYPE, MODEL, PORT, Served


class Scores(kserve.Model):
    def __init__(self) -> None:
        super().__init__(MODEL)
        self.served = Served()
        self.ready = True

    async def predict(self, payload: kserve.InferRequest, headers=None, response_headers=None) -> kserve.InferResponse:
        rows = np.ascontiguousarray(payload.inputs[0].as_numpy(), DATATYPE)
        scores = self.served.predict(rows)
        output = kserve.InferOutput("scores", list(scores.shape), "FP32")
        output.set_data_from_numpy(scores, binary_data=bool(payload.request_outputs))
        return kserve.InferResponse(payload.id or "", MODEL, [output], requested_outputs=payload.request_outputs)


if __name__ == "__main__":
    server = kserve.ModelServer(http_port=PORT, enable_grpc=False, workers=1, access_log_format=None)
    for name in ("kserve.trace", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)  # they write three lines for each request
    server.start([Scores()])
