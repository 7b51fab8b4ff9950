"""The shared model as MLServer calls it."""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from served import DATATYPE, MODEL, Served


class Scores(MLModel):
    async def load(self) -> bool:
        self.served = Served()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = np.ascontiguousarray(NumpyCodec.decode_input(payload.inputs[0]), DATATYPE)
        output = NumpyCodec.encode_output("scores", self.served.predict(rows))
        return InferenceResponse(id=payload.id, model_name=MODEL, outputs=[output])
